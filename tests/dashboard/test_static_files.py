"""Stylesheets and scripts."""

import pytest


def test_a_file_comes_whole_with_its_type_and_length(client):
    response = client.get("/static/css/tokens.css")
    assert (response.status_code, response["Content-Type"]) == (200, 'text/css; charset="utf-8"')
    assert b"--accent" in response.content
    assert not response.streaming


def test_a_copy_that_is_still_good_is_not_sent_again(client):
    first = client.get("/static/js/live.js")
    again = client.get("/static/js/live.js", headers={"If-Modified-Since": first["Last-Modified"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_head_has_no_body(client):
    assert client.head("/static/js/live.js").content == b""


@pytest.mark.parametrize("path", ["/static/css/nothing.css", "/static/../manage.py", "/static/css/"])
def test_nothing_else_is_served(client, path):
    assert client.get(path).status_code == 404
