"""Kinds of files, recognised by name."""

from posixpath import splitext

_IMAGES = frozenset(
    ".apng .avif .blp .bmp .bw .cur .dcx .dds .dib .flc .fli .ftc .ftu .gbr .gif .icb .icns .ico .iim .im .j2c .j2k "  # noqa: SIM905
    ".jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .msp .pbm .pcd .pcx .pgm .png .pnm .ppm .psd .pxr .qoi .ras .rgb .rgba "
    ".sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm".split()
)
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".xlsx", ".xls"})
_MAYBE = frozenset(
    ".7z .arrow .arw .avi .avro .bz2 .cr2 .dcm .dng .eps .exr .feather .fit .fits .gz .h5 .hdf .hdf5 .hdr .heic .heif "  # noqa: SIM905
    ".jxl .mat .mkv .mov .mp4 .mpeg .mpg .nef .nii .npy .npz .orc .parq .pdf .pickle .pkl .pq .ps .pt .pth .rar .raw "
    ".rec .svg .tar .tfrecord .tgz .wmf .xz .zip .zst".split()
)
_ABOUT = frozenset({"dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "package.json"})
_METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})


def ending(path: str) -> str:
    """The suffix of a name, in lower case.

    >>> ending("cat/a.JPG")
    '.jpg'
    """
    return splitext(path.rpartition("/")[2])[1].lower()


def is_image(path: str) -> bool:
    """Is it an image in a supported format?"""
    return ending(path) in _IMAGES


def is_parquet(path: str) -> bool:
    """Is it a parquet file?"""
    return ending(path) == ".parquet"


def is_metadata(path: str) -> bool:
    """Is it metadata of the images in its folder?"""
    return path.rpartition("/")[2] in _METADATA


def is_other_table(path: str) -> bool:
    """Is it a table that is not read but may hold labels?"""
    return ending(path) in _TABLES and path.rpartition("/")[2] not in _ABOUT


def may_be_data(path: str) -> bool:
    """Is it of a kind that often holds data but is not supported?"""
    return is_other_table(path) or ending(path) in _MAYBE
