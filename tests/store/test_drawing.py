from uuid import UUID

from eim.domain.ids import Bucket, bucket_in, with_bucket
from eim.store.drawing import draw


def test_each_id_carries_its_bucket_in_the_form_of_our_other_ids() -> None:
    buckets = [Bucket(0), Bucket(1), Bucket(255), Bucket(256), Bucket(1023)]
    drawn = draw(buckets)
    assert [bucket_in(each) for each in drawn] == buckets
    for bucket, each in zip(buckets, drawn, strict=True):
        ours = with_bucket(bucket, each.bytes[2:])
        assert isinstance(each, UUID)
        assert (each.version, each.variant, each) == (ours.version, ours.variant, ours)


def test_no_two_are_the_same_and_none_are_none() -> None:
    assert len(set(draw([Bucket(7)] * 10_000))) == 10_000
    assert draw([]) == []
