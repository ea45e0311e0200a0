"""What the mirrors of HMDB51, UCF101 and Kinetics serve, in their true structure, made from the drawn sample dataset.

``hmdb51``: a RAR of class RARs and a RAR of split files. ``ucf101``: a RAR of ``UCF-101/<Class>/``, and a zip of lists
with CRLF. ``kinetics400``: path lists, annotation lists, tars of mixed classes, and a tar of replacements;
``kinetics600`` and ``kinetics700_2020`` in their own shapes. ``registry`` writes the registry files that point there.
"""

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

import av
import yaml
from rar_writer import rar4, rar5

from araflow.datasets._sample import draw_sample

Files = dict[str, bytes]
CLASSES = ("walk", "ride_bike", "run", "fall_floor", "push")
UCF_CLASSES = {"walk": "WalkingWithDog", "push": "HandstandPushups"}
KINETICS_LABELS = {"walk": "abseiling", "run": "massaging person's head", "push": "air drumming"}


def draw(folder: Path, clips_per_class: int = 3) -> tuple[Files, Files]:
    """Draw small clips; return videos (``class/name.avi``) and split files by name."""
    draw_sample(
        folder, clips_per_class=clips_per_class, sources_per_class=2, width=64, height=64, seed=0, classes=CLASSES
    )
    videos = {p.relative_to(folder / "videos").as_posix(): p.read_bytes() for p in (folder / "videos").rglob("*.avi")}
    return dict(sorted(videos.items())), {p.name: p.read_bytes() for p in sorted((folder / "splits").rglob("*.txt"))}


def hmdb51(videos: Files, splits: Files) -> Files:
    """The RAR of class RARs, and the RAR of split files."""
    inner = {
        f"{label}.rar": rar4({name: data for name, data in videos.items() if name.startswith(f"{label}/")})
        for label in CLASSES
    }
    lists = {f"testTrainMulti_7030_splits/{name}": data for name, data in splits.items()}
    lists["testTrainMulti_7030_splits/._walk_test_split1.txt"] = b"AppleDouble"
    return {"/hmdb51_org.rar": rar4(inner), "/test_train_splits.rar": rar4(lists)}


def ucf101(videos: Files) -> Files:
    """The RAR of class folders, and the zip of lists: CRLF, no label in the test lists, HandStandPushups."""
    clips: Files = {}
    lists = {"classInd.txt": "".join(f"{n} {name}\r\n" for n, name in enumerate(sorted(UCF_CLASSES.values()), 1))}
    for label, name in UCF_CLASSES.items():
        own = [data for file, data in videos.items() if file.startswith(f"{label}/")]
        spelt = name.replace("HandstandPushups", "HandStandPushups")
        for number, data in enumerate(own):
            clips[f"{name}/v_{spelt}_g{number + 1:02d}_c01.avi"] = data
    for fold in (1, 2, 3):
        train, test = [], []
        for file in clips:
            index = sorted(UCF_CLASSES.values()).index(file.partition("/")[0]) + 1
            (test if f"_g{fold:02d}_" in file else train).append((file, index))
        lists[f"trainlist0{fold}.txt"] = "".join(f"{file} {index}\r\n" for file, index in train)
        lists[f"testlist0{fold}.txt"] = "".join(f"{file}\r\n" for file, _ in test)
    return {
        "/UCF101.rar": rar5({f"UCF-101/{file}": data for file, data in clips.items()}),
        "/UCF101TrainTestSplits-RecognitionTask.zip": zipped(
            {f"ucfTrainTestlist/{name}": text.encode() for name, text in lists.items()}
        ),
    }


def kinetics_clips(videos: Files) -> dict[str, dict[str, bytes]]:
    """Label to file name to MP4 bytes; some ids begin with ``-`` or hold ``_``."""
    clips: dict[str, dict[str, bytes]] = {}
    for label, raw in KINETICS_LABELS.items():
        own = [data for file, data in videos.items() if file.startswith(f"{label}/")]
        initial = {"walk": "-_", "run": "a_", "push": "9Z"}[label]
        clips[raw] = {f"{initial}{n:07d}_X_000010_000020.mp4": to_mp4(data) for n, data in enumerate(own)}
    return clips


def kinetics400(videos: Files, url: Callable[[str], str], cut: Iterable[int] = ()) -> Files:
    """Flat tars of mixed classes for train and val, replacements, path lists and annotation lists.

    Of the clips of each class the last is for val, the others for train. One train clip is in no archive, one is cut
    short in its archive and whole among the replacements, and one video is in no list. The train clips with the numbers
    ``cut``, in the order of their names, are cut short and have no replacement.
    """
    clips = kinetics_clips(videos)
    train = {name: data for own in clips.values() for name, data in sorted(own.items())[:-1]}
    val = {name: data for own in clips.values() for name, data in sorted(own.items())[-1:]}
    names = sorted(train)
    missing, broken = names[0], names[-1]
    files: Files = {}
    archived = {name: data for name, data in train.items() if name != missing}
    for name in (broken, *(names[number] for number in cut)):
        archived[name] = archived[name][:500]
    archived["unlisted_id_000001_000002.mp4"] = b"nobody lists this"
    half = sorted(archived)[: len(archived) // 2]
    files["/400/train/part_0.tar.gz"] = tarred({f"./{name}": archived[name] for name in half})
    files["/400/train/part_1.tar.gz"] = tarred({f"./{n}": d for n, d in archived.items() if n not in half})
    files["/400/val/part_0.tar.gz"] = tarred(val)
    files["/400/replacement.tgz"] = tarred({f"replacement_for_corrupted_k400/{broken}": train[broken]})
    files["/400/train/list.txt"] = "".join(f"{url(f'/400/train/part_{n}.tar.gz')}\n" for n in (0, 1)).encode()
    files["/400/val/list.txt"] = f"{url('/400/val/part_0.tar.gz')}\n".encode()
    for subset, own in (("train", train), ("val", val)):
        rows = ["label,youtube_id,time_start,time_end,split,is_cc"]
        for label, names_of in clips.items():
            quoted = f'"{label}"' if " " in label else label
            rows += [f"{quoted},{n[:11]},10,20,{subset},0" for n in sorted(names_of) if n in own]
        files[f"/400/annotations/{subset}.csv"] = ("\r\n".join(rows) + "\r\n").encode()
    return files


def by_class(videos: Files, url: Callable[[str], str], edition: str) -> Files:
    """Kinetics-600 (a tar per class, spaces in its name, no class folder) or 700-2020 (numbers, with class folder)."""
    clips = kinetics_clips(videos)
    files: Files = {}
    for subset in ("train", "val"):
        lines, rows = [], ["label,youtube_id,time_start,time_end,split"]
        for number, label in enumerate(sorted(clips), start=1):
            own = dict(sorted(clips[label].items())[:-1] if subset == "train" else sorted(clips[label].items())[-1:])
            if edition == "600":
                path, within = f"/600/{subset}/{label}.tar.gz", "./"
            else:
                path, within = f"/700_2020/{subset}/k700_{subset}_{number:03d}.tar.gz", f"{label}/"
            # Servers are asked for the encoded path, while the list has it as it is.
            files[quote(path, safe="/'")] = tarred({f"{within}{name}": data for name, data in own.items()})
            lines.append(url(path))
            rows += [f"{label},{name[:11]},10,20,{subset}" for name in own]
        files[f"/{edition}/{subset}/list.txt"] = ("\n".join(lines) + "\n").encode()
        files[f"/{edition}/annotations/{subset}.csv"] = ("\n".join(rows) + "\n").encode()
    return files


def registry(folder: Path, files: Mapping[str, bytes], url: Callable[[str], str]) -> Path:
    """Write the registry files of every dataset that ``files`` serves; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)

    def artefact(path: str, **changes: object) -> dict[str, object]:
        facts = {"mirrors": [url(path)], "size": len(files[path]), "source": "drawn for a test"}
        return facts | {"sha256": hashlib.sha256(files[path]).hexdigest()} | changes

    def write(name: str, classes: Iterable[str], **facts: object) -> None:
        common = {
            "title": f"{name}, drawn",
            "page": url("/"),
            "citation": "nobody, 2026",
            "licence": "CC0 of the drawn",
        }
        content = {"name": name, **common, "classes_source": "drawn", "classes": dict.fromkeys(classes), **facts}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))

    if "/hmdb51_org.rar" in files:
        videos, splits = artefact("/hmdb51_org.rar"), artefact("/test_train_splits.rar", sha256=None)
        write("hmdb51", CLASSES, videos=[videos], splits=[splits])
    if "/UCF101.rar" in files:
        videos, splits = artefact("/UCF101.rar"), artefact("/UCF101TrainTestSplits-RecognitionTask.zip")
        write("ucf101", sorted(UCF_CLASSES.values()), videos=[videos], splits=[splits])
    for name, edition in (("kinetics400", "400"), ("kinetics600", "600"), ("kinetics700_2020", "700_2020")):
        if f"/{edition}/train/list.txt" not in files:
            continue
        subsets = {
            subset: {
                "parts": url(f"/{edition}/{subset}/list.txt"),
                "annotations": [url(f"/{edition}/annotations/{subset}.csv")],
                "listed": 100,
                "present": 98,
                "source": "drawn",
            }
            for subset in ("train", "val")
        }
        extra = {"replacement": artefact("/400/replacement.tgz")} if edition == "400" else {}
        write(name, sorted(KINETICS_LABELS.values()), subsets=subsets, **extra)
    return folder


def tarred(files: Mapping[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return buffer.getvalue()


def to_mp4(video: bytes) -> bytes:
    """Copy an AVI's packets into an MP4."""
    out = io.BytesIO()
    with av.open(io.BytesIO(video)) as source, av.open(out, "w", format="mp4") as target:
        stream = source.streams.video[0]
        copied = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
    return out.getvalue()


def below(folder: str, files: Mapping[str, bytes]) -> Files:
    return {f"{folder}/{name}": data for name, data in files.items()}


def flat(files: Mapping[str, bytes]) -> Files:
    return {name.rpartition("/")[2]: data for name, data in files.items()}


def grouped(files: Mapping[str, bytes]) -> dict[str, Files]:
    """Class to its files."""
    groups: dict[str, Files] = {}
    for name, data in files.items():
        groups.setdefault(name.partition("/")[0], {})[name] = data
    return groups


def class_archives(files: Mapping[str, bytes], pack: Callable[[Files], bytes] = rar4, suffix: str = ".rar") -> Files:
    return {f"{label}{suffix}": pack(own) for label, own in grouped(files).items()}


def hmdb51_layouts(videos: Files, splits: Files) -> dict[str, Files]:
    """Every layout in which HMDB51 travels, as a folder's files; where that is one archive, it is the source itself."""
    lists = below("testTrainMulti_7030_splits", splits)
    junk = {
        "README.txt": b"read me",
        "walk/Thumbs.db": b"db",
        "walk/._y.avi": b"fork",
        "__MACOSX/walk/._x.avi": b"fork",
    }
    misnamed = [f"{label}.rar" for label in reversed(CLASSES)]
    kinds = ((".zip", rar4), (".rar", zipped), (".tar", rar5), (".tgz", tarred), (".tar.bz2", zipped))
    half = dict(list(grouped(videos).items())[:2])
    loose = {name: data for own in half.values() for name, data in own.items()}
    packed = {name: data for name, data in videos.items() if name not in loose}
    return {
        "RAR4 of RAR4s": {"hmdb51_org.rar": rar4(class_archives(videos))},
        "RAR5 of RAR5s": {"hmdb51_org.rar": rar5(class_archives(videos, rar5))},
        "RAR4 of RAR5s": {"hmdb51_org.rar": rar4(class_archives(videos, rar5))},
        "RAR of RARs of flat clips": {
            "hmdb51_org.rar": rar4({f"{label}.rar": rar4(flat(own)) for label, own in grouped(videos).items()})
        },
        "folder of class RARs": class_archives(videos),
        "folder of class RARs of flat clips": {
            f"{label}.rar": rar5(flat(own)) for label, own in grouped(videos).items()
        },
        "ZIP of class folders": {"hmdb51.zip": zipped(videos)},
        "ZIP with a top folder": {"hmdb51.zip": zipped(below("HMDB51/Videos", videos))},
        "flat ZIP": {"hmdb51.zip": zipped(flat(videos))},
        "ZIP of RARs": {"hmdb51_org.zip": zipped(below("hmdb51_org", class_archives(videos)))},
        "ZIP of ZIPs": {"hmdb51_org.zip": zipped(class_archives(videos, zipped, ".zip"))},
        "tar.gz of class folders": {"hmdb51.tar.gz": tarred(below(".", videos))},
        "tar of class tars": {"hmdb51.tar": tarred(class_archives(videos, tarred, ".tgz"), "w:")},
        "ZIP of tars of ZIPs": {
            "a.zip": zipped(
                {
                    "b.tgz": tarred(
                        {f"c{number}.zip": zipped(own) for number, own in enumerate(grouped(videos).values())}
                    )
                }
            )
        },
        "class folders": videos,
        "class folders far below": below("some/where/HMDB51", videos),
        "all clips in one folder": flat(videos),
        "class folders beside the archive they came from": videos | {"hmdb51_org.rar": rar4(class_archives(videos))},
        "class folders beside their class RARs": videos | class_archives(videos),
        "half unpacked": loose | class_archives(packed),
        "both archive and unpacked copies below": below("unpacked", videos) | {"z.zip": zipped(flat(videos))},
        "archive names that name other classes": {
            "hmdb51.zip": zipped(dict(zip(misnamed, class_archives(videos).values(), strict=True)))
        },
        "archives with misleading suffixes": {
            "hmdb51.rar": zipped(
                {
                    f"{label}{suffix}": pack(own)
                    for (label, own), (suffix, pack) in zip(grouped(videos).items(), kinds, strict=True)
                }
            )
        },
        "an archive without suffix": {"hmdb51_org": zipped(videos)},
        "with split files inside": {"all.zip": zipped(videos | lists)},
        "with junk": {"hmdb51.tar.gz": tarred(videos | junk)},
        "a folder with junk": videos | junk | {".DS_Store": b"x", "walk/.hidden.avi": b"x"},
    }
