"""A sink's RTP streams for people: both directions of a conversation together, the worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from rich.console import RenderableType
from rich.text import Text

from collector.operate.rtp import ENOUGH, Path, RtpSummary, Stream, codec_name, endpoint_text

MOST_SHOWN = 20
LONGEST_CODEC = 9

ROW = "{:<15} {:>10} {:>9} {:>7} {:>8} {:>8} {:>9} {:>7}"
HEADING = ROW.format("RTP by stream", "packets", "lost", "", "late", "twice", "jitter ms", "most")
ONLY_ONE_WAY = (
    "Every stream is one way. It looks so when a mirror copies only what a port\n"
    "receives, or only what it sends: let it copy both."
)
DOUBLED = (
    "Most packets came twice. It looks so when a mirror copies a frame where it\n"
    "enters the switch and again where it leaves: mirror fewer ports, or only what\n"
    "they receive."
)
FITTED = (
    "type N: no SDP was seen that tells the codec. Its jitter is by the clock that\n"
    "fits best, of 8, 16, 48 and 90 kHz."
)


@dataclass
class Conversation:
    """The streams between two endpoints; `path` is the way of the first of them, and of all `there`."""

    path: Path
    there: list[Stream] = field(default_factory=list)
    back: list[Stream] = field(default_factory=list)
    one_way: bool = False

    @property
    def streams(self) -> list[Stream]:
        return self.there + self.back

    @property
    def badness(self) -> tuple[bool, int, int]:
        lost = sum(each.sequence.lost for each in self.streams)
        return self.one_way, lost, sum(each.packets for each in self.streams)


def rtp_facts(summary: RtpSummary) -> Iterator[tuple[str, str]]:
    """Rows of the summary; none where there is no RTP."""
    if not summary.streams:
        return
    every = [stream.sequence for stream in summary.streams]
    lost, late = sum(each.lost for each in every), sum(each.out_of_order for each in every)
    yield "RTP streams", f"{len(every):,}, of these {len(summary.one_way()):,} one way"
    yield (
        "  packets",
        f"{lost:,} lost, {late:,} out of order, {sum(each.duplicates for each in every):,} twice",
    )
    if summary.untracked_packets:
        yield "  not counted", f"streams of {summary.untracked_packets:,} packets: too many to remember"


def rtp_by_stream(summary: RtpSummary) -> list[RenderableType]:
    if not summary.streams:
        return []
    conversations = sorted(_conversations(summary), key=lambda each: each.badness, reverse=True)
    lines = [Text(""), Text(HEADING, style="bold")]
    for each in conversations[:MOST_SHOWN]:
        lines += _told(each)
    more = len(conversations) - MOST_SHOWN
    if more > 0:
        lines.append(Text(f"and {more:,} more conversations; --json has them all"))
    return [*lines, *_notes(summary, conversations[:MOST_SHOWN])]


def _conversations(summary: RtpSummary) -> Iterable[Conversation]:
    one_way = summary.one_way()
    found: dict[Path, Conversation] = {}
    for stream in summary.streams:
        vni, source, destination = path = stream.path
        back = found.get(Path(vni, destination, source))
        if back:
            back.back.append(stream)
        else:
            conversation = found.setdefault(path, Conversation(path, one_way=path in one_way))
            conversation.there.append(stream)
    return found.values()


def _told(conversation: Conversation) -> Iterator[Text]:
    vni, source, destination = conversation.path
    first, second = endpoint_text(source), endpoint_text(destination)
    yield Text(f"VNI {vni}  {first} and {second}", overflow="fold")
    for arrow, streams in (("->", conversation.there), ("<-", conversation.back)):
        for stream in streams:
            yield _figures(arrow, stream)
    if conversation.one_way:
        yield Text(f"  one way: nothing came back from {second}", style="yellow", overflow="fold")


def _figures(arrow: str, stream: Stream) -> Text:
    sequence, (payload_type, track) = stream.sequence, stream.main
    codec = codec_name(payload_type, track)[:LONGEST_CODEC]
    share = f"{100 * sequence.lost / sequence.expected:.1f} %" if sequence.lost else ""
    counts = (sequence.out_of_order, sequence.duplicates)
    jitter = (track.jitter.mean, track.jitter.most)
    line = ROW.format(
        f"  {arrow}  {codec}", f"{stream.packets:,}", f"{sequence.lost:,}", share,
        *(f"{count:,}" for count in counts), *(_milliseconds(each) for each in jitter),
    )  # fmt: skip
    return Text(line, style="yellow" if sequence.lost else "")


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f}" if seconds < 0.1 else f"{seconds * 1000:,.0f}"


def _notes(summary: RtpSummary, shown: Iterable[Conversation]) -> Iterator[Text]:
    streams, one_way = summary.streams, len(summary.one_way())
    if one_way > 1 and one_way == sum(each.packets >= ENOUGH for each in streams):
        yield Text("\n" + ONLY_ONE_WAY)
    if sum(each.sequence.duplicates for each in streams) > 0.4 * summary.packets:
        yield Text("\n" + DOUBLED)
    if any(each.main[1].codec is None for conversation in shown for each in conversation.streams):
        yield Text("\n" + FITTED)
