"""Comments of protos are found by what they are about."""

from __future__ import annotations

import json

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.server_process import ROOT
from tools.proto_comments import comments_of


def test_comments_are_those_of_services_methods_messages_and_fields() -> None:
    file = FileDescriptorProto(package="a.v1")
    outer = file.message_type.add(name="Outer")
    outer.field.add(name="one")
    outer.nested_type.add(name="Inner").field.add(name="two")
    file.enum_type.add(name="Kind")
    file.service.add(name="Service").method.add(name="Do")
    for path, text in (
        ([4, 0], " An outer.\n"),
        ([4, 0, 2, 0], " One,\n two.\n\n Three.\n"),
        ([4, 0, 3, 0, 2, 0], " Two.\n"),
        ([5, 0], " Not told.\n"),
        ([6, 0], " A service.\n"),
        ([6, 0, 2, 0], " Does.\n"),
        ([4, 0, 1], " Of the name alone.\n"),
        ([12], " Of the syntax.\n"),
        ([], " Of the file.\n"),
        ([6, 0, 2, 0, 4, 72295728], " Of an option.\n"),
    ):
        file.source_code_info.location.add(path=path, leading_comments=text)

    assert comments_of([file]) == {
        "a.v1.Outer": "An outer.",
        "a.v1.Outer.Inner.two": "Two.",
        "a.v1.Outer.one": "One, two.\n\nThree.",
        "a.v1.Service": "A service.",
        "a.v1.Service.Do": "Does.",
    }


def test_the_protos_have_them() -> None:
    text = (ROOT / "python_sdk/holdfast/v1/comments.json").read_text(encoding="utf-8")
    comments = json.loads(text)

    assert comments["holdfast.v1.ActorService.InvokeAction"].startswith("Runs an action")
    assert (
        comments["holdfast.v1.InvokeActionRequest.action"] == "Wire name of the action. Required."
    )
