"""An answer is the same in fewer pieces."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.types import Chunk, Done, ReplyBuilder, TokenLogprob, ToolCall, joined

CHUNKS = st.lists(
    st.one_of(
        st.builds(Chunk, text=st.text(max_size=3)),
        st.builds(Chunk, text=st.text(max_size=3), thinking=st.text(min_size=1, max_size=3)),
        st.builds(Chunk, tool_calls=st.just((ToolCall(id="1", name="add", arguments={}),))),
        st.builds(Chunk, text=st.just("a"), logprobs=st.just((TokenLogprob(token="a", logprob=-1.0),))),
    ),
    max_size=8,
)


@given(CHUNKS)
def test_joined_chunks_say_the_same_in_the_same_order(chunks: list[Chunk]):
    def told(pieces: list[Chunk]):
        builder = ReplyBuilder("m")
        for piece in [*pieces, Chunk(done=Done(reason="stop"))]:
            builder.add(piece)
        return builder.reply()

    fewer = joined(chunks)
    assert told(fewer) == told(chunks)
    assert sum(chunk.pieces for chunk in fewer) == len(chunks)
    assert len(fewer) <= len(chunks)


def test_only_text_beside_text_is_joined():
    one, two, thought = Chunk(text="a"), Chunk(text="b"), Chunk(thinking="hm")
    assert joined([one, two, thought, one]) == [Chunk(text="ab", pieces=2), thought, one]
