"""The proto's ErrorReason and the server's catalogue name the same reasons."""

from holdfast.v1 import error_reason_pb2
from holdfast_server.core.errors import CATALOGUE

PREFIX = "ERROR_REASON_"


def test_the_proto_and_the_catalogue_have_the_same_reasons() -> None:
    values = error_reason_pb2.ErrorReason.DESCRIPTOR.values
    names = {value.name.removeprefix(PREFIX) for value in values}
    assert names - {"UNSPECIFIED"} == set(CATALOGUE)


def test_each_reason_is_filed_under_its_own_name() -> None:
    assert {key: reason.reason for key, reason in CATALOGUE.items()} == {
        key: key for key in CATALOGUE
    }


def test_each_pair_of_group_and_code_is_unique() -> None:
    pairs = [(reason.group, reason.code) for reason in CATALOGUE.values()]
    assert len(pairs) == len(set(pairs))
