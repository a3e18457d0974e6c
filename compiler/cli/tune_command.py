"""`autoglm-tvm tune`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoglm_tvm.compiler.cli.options import Cpu, Features, Json, parse_shapes
from autoglm_tvm.targets.errors import UserInputError

if TYPE_CHECKING:
    from autoglm_tvm.compiler.tuning.report import EndToEnd, TuningReport
    from autoglm_tvm.rpc.farm import DevicePool

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh])")


def tune_model(
    model: Annotated[Path, typer.Argument(help="The ONNX file.")],
    target: Annotated[
        str | None,
        typer.Option("--target", "-t", help="A preset; by default the added phone's, or host."),
    ] = None,
    tracker: Annotated[
        str | None, typer.Option(help="Tune on devices: HOST:PORT of the tracker.")
    ] = None,
    key: Annotated[str | None, typer.Option(help="The devices' key at the tracker.")] = None,
    local: Annotated[bool, typer.Option("--local", help="Tune on this machine.")] = False,
    records: Annotated[Path, typer.Option(help="Folder of the records; made, or added to.")] = Path(
        "records"
    ),
    trials: Annotated[int, typer.Option(help="Candidates to try at most.")] = 1000,
    time_limit: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop after so long: 90s, 30m, 2h.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier session stopped.")
    ] = False,
    shape: Annotated[
        list[str] | None, typer.Option(help="Fix an input's shape: NAME=1,3,224,224.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="Worker threads to tune for.")] = None,
    cpu: Cpu = None,
    features: Features = None,
    cpus: Annotated[
        str, typer.Option(help="Cores of the device to use, such as 4-7; its server's otherwise.")
    ] = "",
    max_temperature: Annotated[
        float | None, typer.Option(metavar="C", help="Let the device cool down above this.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the search.")] = 0,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write its charts (needs matplotlib).")] = None,
    as_json: Json = False,
) -> None:
    """Search for faster schedules of a model's kernels by measuring them on devices."""
    _check_place(tracker, key, local)
    shapes = parse_shapes(shape or [])
    limit_s = _seconds(time_limit)
    from autoglm_tvm.compiler.tuning.report_html import write_report_html, write_report_png

    if png is not None:
        from autoglm_tvm.artifacts.matplotlib_module import require_matplotlib

        require_matplotlib()
    with ExitStack() as stack:
        from autoglm_tvm.compiler.tuning.display import TuningDisplay
        from autoglm_tvm.compiler.tuning.tune import TuneLimits, tune

        limits = TuneLimits(trials, limit_s)
        pool, device, compare = stack.enter_context(_devices(tracker, key, cpus, max_temperature))
        display = stack.enter_context(TuningDisplay())
        report = tune(
            model,
            target or _target_of(key),
            pool,
            records,
            device=device,
            shapes=shapes,
            threads=threads,
            cpu=cpu,
            features=features,
            limits=limits,
            resume=resume,
            seed=seed,
            compare_bundles=compare,
            progress=display.update,
        )
    if html is not None:
        write_report_html(report, html)
    if png is not None:
        write_report_png(report, png)
    _print(report, as_json, [path for path in (html, png) if path is not None])


def _check_place(tracker: str | None, key: str | None, local: bool) -> None:
    if local and (tracker or key):
        raise UserInputError(
            "--local tunes on this machine, --tracker and --key on devices",
            hint="give one or the other",
        )
    if not local and not (tracker and key):
        raise UserInputError(
            "where is the model to be tuned?",
            hint="give --tracker HOST:PORT and --key KEY (`autoglm-tvm device list`), or --local",
        )


def _target_of(key: str | None) -> str:
    """The target that `device add` made for a phone, where there is one."""
    if key is None:
        return "host"
    from autoglm_tvm.rpc.devices.registry import load_devices

    return key if any(device.key == key for device in load_devices()) else "android-arm64"


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise UserInputError(
            f"{text!r} is no time", where="--time-limit", hint="give 90s, 30m, 2h or 1h30m"
        )
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


@contextmanager
def _devices(
    tracker: str | None, key: str | None, cpus: str, max_temperature: float | None
) -> Iterator[tuple[DevicePool, str, Callable[[Path, Path], EndToEnd]]]:
    """The pool of devices, what they are, and how two bundles are compared on one."""
    from autoglm_tvm.rpc.farm import DevicePool, MeasureSettings, local_device
    from autoglm_tvm.rpc.farm.device_name import device_name, this_machine

    settings = MeasureSettings(max_temperature_c=max_temperature)
    with ExitStack() as stack:
        if tracker is None or key is None:
            here = stack.enter_context(local_device(cpus))
            tracker, key, device, cpus = here.tracker, here.key, this_machine(), ""
        else:
            device = device_name(tracker, key)
        place = (tracker, key)
        pool = stack.enter_context(DevicePool(*place, settings=settings, cpus=cpus))
        yield pool, device, lambda first, second: _compare(*place, first, second)


def _compare(tracker: str, key: str, first: Path, second: Path) -> EndToEnd:
    from autoglm_tvm.artifacts.bundle import read_bundle
    from autoglm_tvm.compiler.tuning.report import EndToEnd
    from autoglm_tvm.rpc.farm.compare_bundles import compare_bundles
    from autoglm_tvm.rpc.measure.inputs import choose_inputs

    how, inputs = choose_inputs(read_bundle(first).manifest.inputs, {}, None)
    found = compare_bundles(tracker, key, first, second, inputs)
    return EndToEnd(
        found.first_s,
        found.second_s,
        found.ratio,
        (found.low, found.high),
        found.threads,
        found.where,
        f"{found.turns} turns of each; inputs: {how}",
    )


def _print(report: TuningReport, as_json: bool, written: list[Path]) -> None:
    from rich.console import Console

    from autoglm_tvm.compiler.tuning.report_text import print_report

    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=1, allow_nan=False))
        return
    print_report(report, Console())
    for path in written:
        typer.echo(f"{path} written")
