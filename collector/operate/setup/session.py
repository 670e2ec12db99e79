"""One run of `collector setup`, from the first question to the last."""

from __future__ import annotations

import signal
import sys

import click
from pyroute2.iproute import IPRoute

from collector.control import confirm
from collector.control.host import read_host
from collector.errors import CollectorError, HostError, InputError
from collector.operate.setup import look, network, nics, perform, review, trial
from collector.operate.setup.dialogue import Dialogue, Question, complaint
from collector.operate.setup.facts import Facts
from collector.operate.setup.questions import steps
from collector.operate.setup.terminal import BACK, ask, ask_live, leave_on, require_terminal, say, show
from collector.operate.setup.wanted import Wanted, wanted
from collector.options import Options, connected

_WELCOME = """\
This sets the collector up. Enter takes the answer in brackets. Nothing is
changed before you have seen what, and said yes."""

_AGAIN = "\nChange an answer, or leave by Ctrl-C: nothing was changed."


def run(options: Options) -> None:
    require_terminal()
    leave_on(signal.SIGHUP, signal.SIGTERM)
    with connected() as netlink:
        try:
            _setup(options, netlink)
        except (click.Abort, KeyboardInterrupt):
            say("\nNothing was changed.")
            sys.exit(1)
        except EOFError:
            sys.exit(1)


def _setup(options: Options, netlink: IPRoute) -> None:
    waiting = trial.read(options.instance)
    if waiting is None:
        confirm.require_none(options.instance)
        waiting = _ask_and_perform(options, netlink)
    elif not waiting.applied:
        raise HostError(
            "another setup is at work on this machine",
            f"Wait for it to end; at the latest in {waiting.seconds_left} s it is taken back.",
        )
    try:
        perform.settle(options, netlink, waiting)
    except (click.Abort, KeyboardInterrupt):
        trial.give_back(options.instance, waiting, netlink)
        raise


def _ask_and_perform(options: Options, netlink: IPRoute) -> trial.Trial:
    facts = _read_facts(options, netlink)
    dialogue = Dialogue(steps(facts))
    say(_WELCOME)
    while True:
        _ask_all(dialogue, facts, options, netlink)
        chosen = wanted(facts, dialogue.answers)
        try:
            if _agreed(facts, chosen, options, netlink):
                return perform.perform(options, netlink, chosen, facts.admin)
        except CollectorError as error:
            say(f"\nThis does not work here:\n{complaint(error)}\n{_AGAIN}")
        dialogue.back()


def _read_facts(options: Options, netlink: IPRoute) -> Facts:
    host = read_host(netlink, options.instance, None)
    try:
        present = look.read_present(options.file)
    except InputError as error:
        say(f"The present file cannot be used:\n{complaint(error)}\n")
        anew = "Write a new one? The old one is kept, with .bak behind its name"
        if not click.confirm(anew, default=False):
            raise click.Abort from None
        present = None
    return look.read_facts(netlink, host, options.file, present)


def _ask_all(dialogue: Dialogue, facts: Facts, options: Options, netlink: IPRoute) -> None:
    while asked := dialogue.question:
        if asked.nics:
            typed = _ask_nic(asked, dialogue.number, facts, options, netlink)
        else:
            typed = ask(asked, dialogue.number)
        if typed == BACK:
            if not dialogue.back():
                say("  this is the first question")
        else:
            dialogue.answer(typed)
            if asked.no_leads_to and asked.key not in dialogue.answers:
                say("  Nothing will be sent there. Write another address, or leave by Ctrl-C.")


def _ask_nic(asked: Question, number: int, facts: Facts, options: Options, netlink: IPRoute) -> str:
    host, names = read_host(netlink, options.instance, None), [each.name for each in facts.nics]
    with nics.watching(netlink, host, names) as read:
        return ask_live(asked, number, nics.Picture(facts, read).lines)


def _agreed(facts: Facts, chosen: Wanted, options: Options, netlink: IPRoute) -> bool:
    """Shows all that will be done. CollectorError where this machine cannot do it."""
    show(review.summary(facts, chosen), below=8)
    if not _says_yes(review.FILE):
        return False
    if _can_tell(facts, chosen):
        host, warnings = perform.hold(chosen.file, options.instance, netlink)
        show(review.changes(perform.planned(chosen.file, host), warnings), below=11)
    else:
        say(review.CHECKED_LATER)
    return _says_yes(review.GO)


def _says_yes(asked: Question) -> bool:
    typed = ask(asked)
    return typed != BACK and asked.value(typed) == "yes"


def _can_tell(facts: Facts, chosen: Wanted) -> bool:
    """Before the network is set as it will be."""
    here = facts.nic(chosen.nic)
    changes_nic = network.MIRROR in chosen.network and here is not None and bool(here.addresses)
    return not chosen.moves and not changes_nic
