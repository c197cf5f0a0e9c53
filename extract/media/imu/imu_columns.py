"""Which columns of an IMU table hold the time and the channels, and their units.

Usual names are known (timestamp, ax, acc_x, AcclX, linear_acceleration.x, gyro_z, ...). Where they are not enough, the
setting imu_columns says more: `NAME=VALUE,NAME=VALUE`, of which each may be left out:

    time, ax, ay, az, gx, gy, gz    the name of the column
    time_unit                       s, ms, us, ns
    acceleration_unit               m/s^2, g, mg
    rotation_unit                   rad/s, deg/s
    zero                            first: second 0 is the first sample; clock: it is 0 on the table's own clock
    accelerometer, gyroscope        none: the sensor does not exist; the encoder gets zeros instead
"""

import dataclasses
import difflib
import functools
import re
from collections.abc import Sequence

from mmcache.extract.media.base.requests import MediaError
from mmcache.store.ground.errors import Problems
from mmcache.store.ground.text import excerpt, printable

ACCELEROMETER, GYROSCOPE = "accelerometer", "gyroscope"
CHANNELS = {ACCELEROMETER: ("ax", "ay", "az"), GYROSCOPE: ("gx", "gy", "gz")}
TIME = "time"

# unit -> what a value is multiplied by to be in seconds, m/s^2 or rad/s
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ACCELERATION_UNITS = {"m/s^2": 1.0, "g": 9.80665, "mg": 9.80665e-3}
ROTATION_UNITS = {"rad/s": 1.0, "deg/s": 0.017453292519943295}
_ZEROS = ("first", "clock")
_CHOICES: dict[str, tuple[str, ...]] = {
    "time_unit": tuple(TIME_UNITS),
    "acceleration_unit": tuple(ACCELERATION_UNITS),
    "rotation_unit": tuple(ROTATION_UNITS),
    "zero": _ZEROS,
    ACCELEROMETER: ("none",),
    GYROSCOPE: ("none",),
}
_COLUMNS = (TIME, *CHANNELS[ACCELEROMETER], *CHANNELS[GYROSCOPE])
_MAGNETOMETER = "magnetometer"
UNIT_OF = {TIME: "time_unit", ACCELEROMETER: "acceleration_unit", GYROSCOPE: "rotation_unit", _MAGNETOMETER: ""}
_SENSOR_OF = {"a": ACCELEROMETER, "g": GYROSCOPE, "m": _MAGNETOMETER}  # by the first letter of a channel

# Usual names, reduced to letters and digits.
_SENSORS = {
    ACCELEROMETER: "linearacceleration linearaccel accelerometeracceleration accelerometer acceleration accel accl "
    "linacc acc a",
    GYROSCOPE: "angularvelocity angularrate angvel gyroscoperotation gyrorotation motionrotationrate rotationrate "
    "gyroscope gyro gyr gy omega w g",
    _MAGNETOMETER: "magneticfield magnetometer magnetic magn mag m",
}
_UNIT_WORDS = {
    "time_unit": {
        "ns": "ns nsec nsecs nanos nanosec nanosecs nanosecond nanoseconds",
        "us": "us usec usecs micros microsec microsecs microsecond microseconds",
        "ms": "ms msec msecs millis millisec millisecs millisecond milliseconds",
        "s": "s sec secs second seconds",
    },
    "acceleration_unit": {"m/s^2": "ms2 mps2 msec2 mss ms²", "mg": "mg", "g": "g gs"},
    "rotation_unit": {"rad/s": "rads radps radsec rads1", "deg/s": "degs dps degps degsec degs1 °s"},
}
_CLOCKS = (
    "unixtimestamp epochtimestamp unixtime epochtime sensortimestamp systemtimestamp headerstamp stamp elapsedtime "
)
_CLOCKS += "timeelapsed elapsed timestamp datetime time epoch unix ts t"
_BRACKETS = re.compile(r"[(\[{](?P<unit>[^)\]}]*)[)\]}]\s*$")


@dataclasses.dataclass(frozen=True)
class ImuColumns:
    """The setting imu_columns, taken apart.

    Attributes:
        columns: `time` or a channel -> the name of its column.
        units: `time_unit`, `acceleration_unit` or `rotation_unit` -> unit.
        zero: `first`, `clock`, or '' if not given.
        absent: sensors that the setting declares absent.
    """

    columns: dict[str, str]
    units: dict[str, str]
    zero: str
    absent: frozenset[str]

    @property
    def variant(self) -> str:
        """What the encoder was fed, for the fingerprint: '' for both sensors."""
        left = [sensor for sensor in CHANNELS if sensor not in self.absent]
        return f"{left[0]}_alone" if len(left) == 1 else ""


@functools.cache
def parse_columns(text: str) -> ImuColumns:
    """Take the setting apart. Raises ConfigError naming every mistake in it."""
    problems, found = Problems(), dict[str, str]()
    for part in filter(None, map(str.strip, text.split(","))):
        name, separator, value = (each.strip() for each in part.partition("="))
        if not separator or not value:
            problems.add(f"imu_columns: {excerpt(part)} is not of the form NAME=VALUE, such as time=ts or ax=acc1")
        elif problems.check_name("name in imu_columns", name, (*_COLUMNS, *_CHOICES)):
            if name in found:
                problems.add(f"imu_columns gives {name} twice")
            elif name in _CHOICES and value not in _CHOICES[name]:
                problems.add(f"imu_columns: {name}={value}; allowed are {', '.join(_CHOICES[name])}")
            found[name] = value
    if ACCELEROMETER in found and GYROSCOPE in found:
        problems.add("imu_columns says that there is neither an accelerometer nor a gyroscope")
    problems.raise_if_any()
    return ImuColumns(
        columns={name: value for name, value in found.items() if name in _COLUMNS},
        units={name: value for name, value in found.items() if name.endswith("_unit")},
        zero=found.get("zero", ""),
        absent=frozenset(sensor for sensor in CHANNELS if sensor in found),
    )


def with_variant(text: str, variant: str) -> str:
    """The setting that gives an encoder the media of `variant`."""
    absent = next((sensor for sensor in CHANNELS if variant == f"{_other(sensor)}_alone"), None)
    given = parse_columns(text)
    if absent is None or absent in given.absent:
        return text
    return ",".join(filter(None, [text, f"{absent}=none"]))


@dataclasses.dataclass(frozen=True)
class Found:
    """Where things are in a header.

    Attributes:
        places: `time` or a channel -> the column's place.
        units: as ImuColumns.units, as far as the names contain them.
        left_out: other sensors whose columns are not read.
    """

    places: dict[str, int]
    units: dict[str, str]
    left_out: tuple[str, ...]


def find_columns(header: Sequence[str], given: ImuColumns, sensors: Sequence[str], alone: bool) -> Found:
    """Find the time and the channels of `sensors`.

    Args:
        alone: whether the table is one sensor's, whose axes may be called x, y and z.

    Raises:
        MediaError: a column is missing, or several match; the message says what to give.
    """
    wanted = {TIME: TIME, **{channel: sensor for sensor in sensors for channel in CHANNELS[sensor]}}
    places: dict[str, int] = {}
    units: dict[str, str] = {}
    lacking: list[str] = []
    for name, sensor in wanted.items():
        if name in given.columns:
            asked = given.columns[name]
            if asked not in header:
                raise MediaError(f"imu_columns names the column {excerpt(asked)} for {name}; {_there(header, asked)}")
            meant = {list(header).index(asked): _unit_at_end(asked, UNIT_OF[sensor])}
        else:
            meant = {
                at: unit for at, column in enumerate(header) if (unit := _unit_if(column, name, alone)) is not None
            }
        if len(meant) > 1:
            several = " and ".join(excerpt(header[at]) for at in meant)
            raise MediaError(f"{several} could each be {name}: say which with imu_columns={name}=COLUMN")
        for at, unit in meant.items():
            places[name] = at
            if unit and units.setdefault(UNIT_OF[sensor], unit) != unit:
                raise MediaError(
                    f"columns are in {units[UNIT_OF[sensor]]} and in {unit} by their names; write one unit"
                )
        if not meant:
            lacking.append(name)
    if lacking:
        raise MediaError(_lacks(header, lacking, sensors, places))
    others = any(_unit_if(column, f"m{axis}", alone=False) is not None for column in header for axis in "xyz")
    return Found(places, {**units, **given.units}, ("magnetometer",) if others else ())


def _lacks(header: Sequence[str], lacking: list[str], sensors: Sequence[str], places: dict[str, int]) -> str:
    for sensor in sensors:
        if set(CHANNELS[sensor]) == set(lacking) and _other(sensor) in sensors:
            return (
                f"it has no {sensor}, and the encoder takes both sensors. Give its file too, name its columns with "
                f"imu_columns={CHANNELS[sensor][0]}=COLUMN,..., or, where a data set has none, say "
                f"imu_columns={sensor}=none: the encoder is then given zeros in its place; {_there(header)}"
            )
    asked = ",".join(f"{name}=COLUMN" for name in lacking)
    name = lacking[0]
    beside = next((other for other in places if other[0] == name[0] and name != TIME != other), None)
    like = header[places[beside]].lower().replace(beside[1], name[1]) if beside else name  # accel_y for accel_x
    there = _there([column for at, column in enumerate(header) if at not in places.values()], like)
    return f"no column is known to be {', '.join(lacking)}: say which with imu_columns={asked}; {there}"


def _there(header: Sequence[str], asked: str = "") -> str:
    near = difflib.get_close_matches(asked.lower(), [name.lower() for name in header], 1, 0.5) if asked else []
    meant = next((name for name in header if near and name.lower() == near[0]), None)
    hint = f" (did you mean {excerpt(meant)}?)" if meant is not None else ""
    shown = ", ".join(printable(name) for name in header[:12]) + (", ..." if len(header) > 12 else "")
    return f"the table has {shown[:200] or 'no others'}{hint}"


def _other(sensor: str) -> str:
    return GYROSCOPE if sensor == ACCELEROMETER else ACCELEROMETER


def _unit_if(column: str, name: str, alone: bool) -> str | None:
    """The unit in a column's name ('' for none) if its usual meaning is `name`, else None."""
    match = _BRACKETS.search(column)
    word = re.sub(r"[^a-z0-9]", "", _BRACKETS.sub("", column).lower()).removeprefix("field").removeprefix("imu")
    kind = UNIT_OF[TIME if name == TIME else _SENSOR_OF[name[0]]]
    said = "" if match is None else _unit(re.sub(r"[^a-z0-9²°]", "", match["unit"].lower()), kind)
    for unit, forms in _forms(name).items():
        if word in forms:
            return said or unit
    return said if alone and word == name[1:] else None


@functools.cache
def _forms(name: str) -> dict[str, frozenset[str]]:
    """Unit, or '' -> the names that `name` has with it, in letters and digits alone."""
    if name == TIME:
        clocks = _CLOCKS.split()
        named = {
            unit: frozenset(
                form
                for each in words.split()
                for clock in (*clocks, "sinceepoch", "")
                for form in (clock + each, each + clock)
            )
            for unit, words in _UNIT_WORDS["time_unit"].items()
        }
        return {"": frozenset(clocks), **named}
    axis, sensor = name[1], _SENSOR_OF[name[0]]
    known = _SENSORS[sensor].split()
    forms = {"": {form for word in known for form in (word + axis, axis + word)}}
    for unit, words in _UNIT_WORDS.get(UNIT_OF[sensor], {}).items():
        forms[unit] = {
            form
            for word in known
            for each in words.split()
            for form in (word + axis + each, word + each + axis, axis + word + each)
        }
    if sensor == ACCELEROMETER:
        forms["g"] |= {word + axis for word in ("gforce", "gf")}
    return {unit: frozenset(each) for unit, each in forms.items()}


def _unit_at_end(column: str, kind: str) -> str:
    """The unit in a name, in brackets or as its last word, or ''."""
    match = _BRACKETS.search(column)
    last = match["unit"] if match is not None else re.split(r"[ _.\-]", column)[-1]
    return _unit(re.sub(r"[^a-z0-9²°]", "", last.lower()), kind)


def _unit(word: str, kind: str) -> str:
    return next((unit for unit, words in _UNIT_WORDS.get(kind, {}).items() if word in words.split()), "")
