"""The flags of commands whose work Apache Beam can spread."""

from absl import flags


def define(values: flags.FlagValues) -> None:
    """Adds --runner and --beam_args to a command's flags."""
    flags.DEFINE_enum(
        "runner",
        "local",
        ["local", "beam"],
        "processes of this machine, or Apache Beam (the extra 'beam')",
        flag_values=values,
    )
    flags.DEFINE_string(
        "beam_args",
        "",
        "Beam's own flags in one string, as '--runner=FlinkRunner "
        "--flink_master=host:8081'; without, Beam too runs on this machine",
        flag_values=values,
    )
