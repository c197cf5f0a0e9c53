"""Which names of columns in a user's table are taken for which role (manifest_columns.py).

Names are compared in lower case, with '_' for everything that is no letter or digit and between the words of
camelCase. Besides the documented names (manifest.py) these are taken, because they leave no doubt:

    start   start, begin or onset, with clip_, segment_, action_, event_, time_ or t_ before it, and _time, _timestamp
            and a unit behind it: s, sec, seconds, or ms, milliseconds
    stop    the same with stop, end or finish, and offset where the start is called onset; else, where there is a start,
            duration or dur with a unit
    split   subset, partition, set, phase, usage, mode, data_split, split_name ..., where cells say train, validation or
            test
    labels  where no column has a documented name: one of activity, category, gesture, emotion, event, labels,
            class_name, label_id ..., whose task is its first word; and verb_class, noun_class
    id      segment_id, clip_id, sample_id, where each row has another
    media   video_path, rgb_file, wav_path, imu_csv ...; video, clip, frames, wav, images ... where the cells are
            evidently paths; path, file, filename ... where nothing else is, and the kind of file says which modality
    rate    fps and frame_rate where one modality is pictures; rgb_fps, depth_fps ...

Refused, as what they say cannot be read: from and to, t0 and t1 ... where their cells are times, `length` beside a
start, is_train, split_1, subset ... where no cell says train, validation or test.

`fold` is no split: its numbers do not say what is trained on. Columns of frame numbers are no times: they count from 0
or 1, with or without the last one, at a rate of their own.
"""

import re

MODALITIES = ("rgb", "flow", "audio", "imu", "depth", "ir")
STARTS = ("start", "begin", "onset")
EDGES = {*STARTS, "stop", "end", "finish", "offset"}
UNCLEAR_EDGES = {"from", "to", "t0", "t1", "tmin", "tmax", "until", "since"}  # times, if their cells are
LENGTH = re.compile("(?:clip|segment|seg|action|event)?(?:length|len)(?:s|secs?|seconds?|ms)?")
_UNIT = "(?P<unit>s|secs?|seconds?|ms|msecs?|millis|milliseconds?)?"
# Of names without '_':
TIME = re.compile(f"(?:clip|segment|seg|action|event|time|t)?(?P<edge>{'|'.join(EDGES)})(?:time|timestamp)?{_UNIT}")
DURATION = re.compile(f"(?:clip|segment|seg|action|event)?(?:duration|dur){_UNIT}")
FRAME = re.compile("(?:start|begin|first|stop|end|last)(?:frame|index|idx)s?|frame(?:start|begin|stop|end)")
SPLIT = re.compile("splits|subset|partition|set|phase|usage|mode|data(?:set)?split|splitname|train(?:val)?test")
# Columns with the split of a row; and columns such as is_train, with yes and no.
SURE_SPLIT = re.compile("splits?\\d*|subset|partition|(?:data(?:set)?)split|splitname|(?:train(?:val)?test)(?:split)?")
SPLIT_FLAG = re.compile(
    "(?:is|in)?(?:train|training|test|testing|val|valid|validation|dev|heldout|holdout)(?:set|ing)?"
)
_OF_PATH = "(?:path|file|filename|filepath|dir|folder|directory|csv|uri)s?"
_ALIASES = {
    "rgb": "rgb|videos?|film|movie|clip|frames?|images?|imgs?|pictures?",
    "flow": "flow|opticalflow",
    "audio": "audio|sound|wavs?|mic",
    "imu": "imu|inertial",
    "depth": "depth|depthmaps?",
    "ir": "ir|infrared",
}
PATH = {modality: re.compile(f"(?:{names})(?P<path>{_OF_PATH})?") for modality, names in _ALIASES.items()}
ANY_PATH = re.compile(f"(?:media)?{_OF_PATH}|media")
_FPS = "(?:fps|framerate|framespersecond)"
RATE = {modality: re.compile(f"(?:{names}){_FPS}") for modality, names in _ALIASES.items()}
ANY_RATE = re.compile(_FPS)
# Of names with '_':
IDS = ("segment_id", "clip_id", "sample_id")
CLOCK = re.compile("times?|timestamps?|timecode|t|seconds|interval|span|segment|window")
_FORM = "id|idx|index|name|num|number|no|code|text|str|string"
LABEL = re.compile(f"label(?:_(?!(?:{_FORM})$)(?P<task>.+))?|(?P<self>verb|noun|action|class)")
NEAR_LABEL = re.compile(
    f"(?P<task>label|class|action|activity|category|gesture|emotion|event|verb|noun)(?:e?s)?_?(?:{_FORM}|label|class)?"
)
SIDE_BY_SIDE = ("verb", "noun")  # tasks whose near names may stand in one table


def plain(column: str) -> str:
    """A name in lower case, its words joined by '_'."""
    words = re.sub("(?<=[a-z0-9])(?=[A-Z])", "_", column)
    return re.sub("[^0-9a-z]+", "_", words.lower()).strip("_")
