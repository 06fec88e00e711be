"""Makes tokenizer files of many kinds: saved by `transformers`, or edited."""

import json

FILES = ("vocab.txt", "tokenizer.json", "tokenizer_config.json",
         "special_tokens_map.json", "added_tokens.json")  # fmt: skip


def tokenizers(vocab):
    """Returns name -> (function that makes a directory's files, expect).

    Args:
      vocab: the tokens.
    """
    from tokenizers import AddedToken, processors

    def write_as_is(path):
        """Makes version 5 run the file as it is, like version 4."""
        file = path / "tokenizer_config.json"
        content = json.loads(file.read_text())
        content["tokenizer_class"] = "PreTrainedTokenizerFast"
        file.write_text(json.dumps(content))

    def saved(*, also=None, as_written=False, **settings):
        def make(path, new):
            tokenizer = new(**settings)
            if also is not None:
                also(tokenizer)
            tokenizer.save_pretrained(path)
            if as_written:
                write_as_is(path)

        return make

    def edited(changes, file="tokenizer.json", as_written=False, **settings):
        def make(path, new):
            new(**settings).save_pretrained(path)
            if as_written:
                write_as_is(path)
            place = path / file
            content = json.loads(place.read_text())
            changes(content)
            place.write_text(json.dumps(content))

        return make

    def alone(*names, **settings):
        def make(path, new):
            new(**settings).save_pretrained(path)
            (path / "vocab.txt").write_text("\n".join(vocab) + "\n")
            for file in list(path.iterdir()):
                if file.name in FILES and file.name not in names:
                    file.unlink()

        return make

    def added(*tokens, special=False):
        def add(tokenizer):
            tokenizer.add_tokens(list(tokens), special_tokens=special)

        return saved(also=add)

    def post(processor):
        return saved(
            also=lambda t: setattr(t.backend_tokenizer, "post_processor",
                                   processor), as_written=True,
        )  # fmt: skip

    def inside(tokenizer):
        tokenizer.backend_tokenizer.enable_truncation(5)
        tokenizer.backend_tokenizer.enable_padding(length=9)

    def model(**changes):
        return edited(lambda c: c["model"].update(changes), as_written=True)

    def step(**changes):
        return edited(lambda c: c.update(changes), as_written=True)

    def setting(**changes):
        return edited(lambda c: c.update(changes), file="tokenizer_config.json")

    cls, sep = vocab.index("[CLS]"), vocab.index("[SEP]")
    order = [*vocab[5:100], *vocab[:5], *vocab[100:]]
    bert = processors.BertProcessing(("[SEP]", sep), ("[CLS]", cls))
    roberta = processors.RobertaProcessing(("[SEP]", sep), ("[CLS]", cls))
    ends = [("[CLS]", cls), ("[SEP]", sep)]
    template = processors.TemplateProcessing
    names = {
        "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>",
        "sep_token": "</s>", "mask_token": "<mask>",
    }  # fmt: skip
    other = dict(zip(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
                     names.values()))  # fmt: skip
    return {
        "as it comes": (saved(), ""),
        "cased": (saved(do_lower_case=False), ""),
        "cased, accents stripped": (
            saved(do_lower_case=False, strip_accents=True), "",
        ),
        "lower-cased, accents kept": (saved(strip_accents=False), ""),
        "no Chinese": (saved(tokenize_chinese_chars=False), "Chinese"),
        "[PAD] at 95": (saved(vocab=order), ""),
        "added": (added("[E1]", "newword"), ""),
        "added, with a space": (added("New York"), ""),
        "added, special": (added("[E1]", "<x y>", special=True), ""),
        "added, upper case": (added(AddedToken("NASA", normalized=True)), ""),
        "added, just as written": (
            added(AddedToken("NASA", normalized=False)), "",
        ),
        "added, lstrip": (added(AddedToken("[E1]", lstrip=True)), ""),
        "added, rstrip": (added(AddedToken("[E1]", rstrip=True)), ""),
        "added, single_word": (
            added(AddedToken("cat", single_word=True)), "!single_word",
        ),
        "added, a token of the vocabulary": (added("the", "of"), ""),
        "additional_special_tokens": (
            saved(additional_special_tokens=["[E1]", "[/E1]"]), "",
        ),
        "special tokens renamed": (
            saved(vocab=[other.get(t, t) for t in vocab], **names), "names",
        ),
        "mask renamed": (
            saved(vocab=[{"[MASK]": "<mask>"}.get(t, t) for t in vocab],
                  mask_token="<mask>"), "names",
        ),
        "mask_token lstrip": (
            saved(mask_token=AddedToken("[MASK]", lstrip=True,
                                        normalized=False)), "",
        ),
        "truncation and padding inside": (
            saved(also=inside, as_written=True), "",
        ),
        "BertProcessing": (post(bert), ""),
        "RobertaProcessing": (post(roberta), "special tokens"),
        "a template without the last [SEP]": (
            post(template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1", ends)),
            "special tokens",
        ),
        "a template of one segment": (
            post(template("[CLS] $A [SEP]", "[CLS] $A [SEP] $B [SEP]", ends)),
            "special tokens",
        ),
        "no template": (step(post_processor=None), "special tokens"),
        "long": (saved(model_max_length=10**30), ""),
        "short": (saved(model_max_length=8), ""),
        "tokenizer.json alone": (alone("tokenizer.json"), ""),
        "vocab.txt alone": (alone("vocab.txt"), "lower_case"),
        "no tokenizer_config.json": (
            alone("vocab.txt", "tokenizer.json", do_lower_case=False), "?",
        ),
        "no tokenizer.json": (
            alone("vocab.txt", "tokenizer_config.json", do_lower_case=False),
            "",
        ),
        "none": (alone(), "no vocabulary"),
        "BertTokenizer": (setting(tokenizer_class="BertTokenizer"), ""),
        "BertTokenizerFast": (setting(tokenizer_class="BertTokenizerFast"), ""),
        "ElectraTokenizerFast": (
            setting(tokenizer_class="ElectraTokenizerFast"), "",
        ),
        "DistilBertTokenizerFast": (
            setting(tokenizer_class="DistilBertTokenizerFast"), "",
        ),
        "PreTrainedTokenizerFast": (
            setting(tokenizer_class="PreTrainedTokenizerFast"), "",
        ),
        "another class": (setting(tokenizer_class="BertJapaneseTokenizer"),
                          "BertJapaneseTokenizer"),
        "null where a word stands": (setting(strip_accents=None), ""),
        "do_lower_case against the file": (setting(do_lower_case=False), ""),
        "clean_text false": (
            edited(lambda c: c["normalizer"].update(clean_text=False),
                   as_written=True),
            "control",
        ),
        "words of 50 letters": (model(max_input_chars_per_word=50), "50"),
        "another prefix": (model(continuing_subword_prefix="@@"), "prefix"),
        "WordLevel": (model(type="WordLevel"), "WordLevel"),
        "Whitespace": (
            step(pre_tokenizer={"type": "Whitespace"}), "Whitespace",
        ),
        "NFKC": (
            step(normalizer={"type": "Sequence", "normalizers": [
                {"type": "NFKC"}, {"type": "Lowercase"}]}), "NFKC",
        ),
        "no normaliser": (step(normalizer=None), "normalizer null"),
        "no pre-tokenizer": (step(pre_tokenizer=None), "pre_tokenizer null"),
        "damaged": (
            lambda path, new: (path / "tokenizer.json").write_text('{"a'),
            "!tokenizer.json",
        ),
        "empty": (
            lambda path, new: (path / "vocab.txt").write_text(""),
            "!vocab.txt",
        ),
    }  # fmt: skip
