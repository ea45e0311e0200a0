"""The command line: one file per command group. Thin, and the one place where everything is put together.

Each command imports what it needs when it runs, so that ``--help`` answers at once.

May import everything, ``flows`` included.
"""

from __future__ import annotations

import click

from araflow import __version__
from araflow.cli import (
    build,
    compare,
    completion,
    deepstream,
    doctor,
    engine,
    export,
    features,
    fetch,
    flow,
    flow_quality,
    manifest,
    models,
    operate,
    own,
    predict,
    serve,
    sweep,
    train,
    unpack,
)
from araflow.cli.options import EXIT_STATUS, Group, tells
from araflow.core import json_log

__all__ = ["main"]


@click.group(cls=Group, epilog=EXIT_STATUS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="araflow")
@click.option(
    "--log-json",
    is_flag=True,
    envvar=json_log.VARIABLE,
    help=f"Log lines as JSON, one object per line on standard error, and no bars; or set {json_log.VARIABLE}=1.",
)
@click.pass_context
def main(ctx: click.Context, log_json: bool) -> None:
    """From public action-recognition videos to training data you can trust.

    \b
    Try it without any data (the sample is drawn, not footage):
      araflow build sample
    HMDB5 from the internet (asks first), or from a folder of HMDB51 that you have:
      araflow fetch hmdb51 --only walk,ride_bike,run,fall_floor,push
      araflow plan hmdb5 dataset.source=hmdb51/ dataset.splits=splits/
      araflow build hmdb5 dataset.source=hmdb51/ dataset.splits=splits/
    Optical flow of your own videos:
      araflow flow my_video.mp4 --out flow/
    A recogniser of your own videos, one folder a class, in one command:
      araflow train videos/
    A recogniser of a dataset, its figures, and what it says of a video:
      araflow train-eval --spec sample_flow
      araflow predict runs/sample_flow/last.safetensors my_video.mp4
    How far a build is, and what failed:
      araflow status data/hmdb5
      araflow retry data/hmdb5

    araflow tells nobody that it is used, and Prefect's telemetry is off in all that it starts.
    """
    if log_json:
        ctx.with_resource(json_log.switched_on())


for command, line in (
    (own.train, "Make a recogniser of your own videos."),
    (build.build, "Make a dataset, or finish one."),
    (flow.flow, "Make frames and flow of your own videos."),
    (build.plan, "Show what a build would make."),
    (manifest.manifest, "Show, validate or compare manifests."),
    (doctor.doctor, "Say what this machine has and lacks."),
    (operate.status, "Show how far a build is."),
    (operate.retry, "Try again what failed."),
    (operate.clean, "Show or remove what no run needs any more."),
    (serve.up, "Start a Prefect server, and serve on it."),
    (serve.serve, "Serve on a Prefect server that is there."),
    (serve.run, "Ask a server for a run, and watch it."),
    (serve.schedules, "List or remove what runs at set times."),
    (fetch.fetch, "Download a dataset, verified."),
    (unpack.unpack, "Unpack an archive (zip, tar, RAR) safely."),
    (flow_quality.flow_quality, "Measure optical flow against the truth."),
    (train.train_eval, "Train a recogniser, and evaluate it."),
    (train.evaluate, "Evaluate a recogniser."),
    (compare.compare, "Show runs side by side."),
    (sweep.sweep, "Train under several settings and seeds."),
    (predict.predict, "Name the action in videos."),
    (features.features, "Write what a recogniser sees in clips."),
    (models.models, "List architectures, or show a recogniser."),
    (export.export, "Write a recogniser as an ONNX file."),
    (engine.engine, "Build a TensorRT engine from an ONNX file."),
    (engine.bench_engine, "Time a recogniser."),
    (deepstream.deepstream, "Write what NVIDIA DeepStream needs."),
    (deepstream.triton, "Write what NVIDIA Triton needs."),
    (completion.completion, "Complete commands and names in your shell."),
):
    command.short_help = line  # whole in the list of commands, however narrow the terminal
    main.add_command(command)
for command in (
    *(build.build, flow.flow, operate.retry, fetch.fetch, unpack.unpack, flow_quality.flow_quality, train.train_eval),
    *(train.evaluate, sweep.sweep, predict.predict, features.features, export.export, engine.engine),
    *(engine.bench_engine, own.train),
):
    tells(command)
