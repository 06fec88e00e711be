"""Small folders in the layout of GLUE's official files."""

from electra_tf.tasks.glue.sets import SETS

HEADERS = {
    "cola": ("", "index\tsentence"),
    "sst2": ("sentence\tlabel", "index\tsentence"),
    "mrpc": ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String",
             "index\t#1 ID\t#2 ID\t#1 String\t#2 String"),
    "stsb": ("index\tgenre\tsentence1\tsentence2\tscore",
             "index\tgenre\tsentence1\tsentence2"),
    "qqp": ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate",
            "id\tquestion1\tquestion2"),
    "mnli": ("index\tgenre\tsentence1\tsentence2\tlabel1\tgold_label",
             "index\tgenre\tsentence1\tsentence2"),
    "qnli": ("index\tquestion\tsentence\tlabel", "index\tquestion\tsentence"),
    "rte": ("index\tsentence1\tsentence2\tlabel",
            "index\tsentence1\tsentence2"),
    "wnli": ("index\tsentence1\tsentence2\tlabel",
             "index\tsentence1\tsentence2"),
    "ax": ("", "index\tsentence1\tsentence2"),
}  # fmt: skip
# The labels as the official files write them.
LABELS = {
    "cola": "01", "sst2": "01", "mrpc": "01", "qqp": "01", "wnli": "01",
    "stsb": ("3.800", "0.000"),
    "mnli": ("neutral", "contradiction"),
    "qnli": ("entailment", "not_entailment"),
    "rte": ("entailment", "not_entailment"),
}  # fmt: skip
NUMBERS = ("id", "qid1", "qid2", "index")


def text(name, split, row, which):
    """Returns one text of a row; its quotes have no meaning in the format."""
    quote = '"' if row % 2 else ""
    return f"{quote}{name} {split} {row} {which}"


def lines(name, split, rows):
    """Returns the lines of a file."""
    glue_set = SETS[name]
    header = HEADERS[name][split.startswith("test")]
    found = [header] if header else []
    for row in range(rows):
        label = LABELS.get(name, "01")[row % 2]
        texts = [text(name, split, row, i) for i in (1, 2)]
        if not header:
            found.append("\t".join(["src", label, "", texts[0]]))
            continue
        cells = []
        for column in header.split("\t"):
            if column in glue_set.columns:
                cells.append(texts[glue_set.columns.index(column)])
            elif column == glue_set.label_column:
                cells.append(label)
            elif column.endswith("ID"):
                cells.append(f"{split}{row}")
            else:
                cells.append(str(row) if column in NUMBERS else "x")
        found.append("\t".join(cells))
    return found


def write(folder, name, sizes, ending="\n"):
    """Writes <folder>/<official name>/<split>.tsv; returns that folder."""
    glue_set = SETS[name]
    here = folder / glue_set.folder
    here.mkdir(parents=True, exist_ok=True)
    for split, rows in sizes.items():
        content = ending.join(lines(name, split, rows)) + ending
        path = here / f"{glue_set.files[split]}.tsv"
        path.write_bytes(content.encode("utf-8"))
    return here
