"""Job files and scales that are refused, with the line and what was meant, and what they leave standing."""

import pytest

from hdit_repro import jobs
from hdit_repro.errors import UserError
from hdit_repro.spec.data import Folder
from hdit_repro.stages.evaluate import names_of

REFUSED = {
    "a misspelt part": ("modle = { patch = 4 }", ["'modle'", "did you mean 'model'"]),
    "a misspelt key": ("model = { depthz = [1] }", ["'depthz'", "did you mean 'depths'", "mine.toml:4, row x"]),
    "a misspelt kind": (
        'model = { attention = [{ kind = "neighbourhood" }, { kind = "global" }] }',
        ["'neighbourhood'", "did you mean 'neighborhood'", "shifted-window"],
    ),
    "a misspelt choice": ('data = { transform = "admm" }', ["'admm'", "did you mean 'adm'"]),
    "a key of another kind": ('diffusion = { weighting = { kind = "snr", gamma = 5.0 } }', ["'gamma'"]),
    "a wrong type": ("training = { steps = 1.5 }", ["training.steps = 1.5", "a whole number"]),
    "a whole number with an exponent": ("training = { steps = 4e5 }", ["steps = 400_000"]),
    "a number in quotes": ('training = { optimizer = { learning_rate = "5e-4" } }', ["learning_rate = 0.0005"]),
    "a text that is no number": (
        'sampling = { count = "50k" }',
        ['sampling.count = "50k"', "a whole number", "change it"],
    ),
    "a switch in quotes": ('data = { flip = "False" }', ["true or false", "flip = false"]),
    "a kind without its table": (
        'sampling = { sampler = "heun" }',
        ["a table with a kind of: dpmpp_3m_sde", 'sampler = { kind = "heun" }'],
    ),
    "kinds without their tables": (
        'model = { attention = ["neighborhood", "global"] }',
        ['model.attention[0] = "neighborhood"', 'fix       { kind = "neighborhood" }'],
    ),
    "one value where a list belongs": ("model = { heads = 4 }", ["a list, each a whole number", "heads = [4]"]),
    "one metric where a list belongs": ('evaluation = { metrics = "frechet" }', ['metrics = ["frechet"]']),
    "a list of another length": (
        "training = { optimizer = { betas = [0.9] } }",
        ["a list has 2 values", "training.optimizer.betas = [0.9]", "each a number"],
    ),
    "a metric by a name of its number": ('evaluation = { metrics = ["fid"] }', ["'fid'", "did you mean 'frechet'?"]),
    "one kind where a list belongs": ('model = { attention = { kind = "global" } }', ["attention = [{ ... }]"]),
    "a list where a table belongs": ("training = { growth = [[100, 64]] }", ["[100, 64]", "a table of: steps, batch"]),
    "a table without its kind": (
        "model = { attention = [{ kernel = 9 }] }",
        ["'kind' is missing", "global, neighborhood"],
    ),
    "a field outside of its table": ("training = { learning_rate = 1e-3 }", ["training.optimizer.learning_rate"]),
    "a field outside of its part": ("steps = 20", ["did you mean sampling.sampler.steps, or training.steps?"]),
    "a field outside of its table, near another": (
        "sampling = { steps = 20 }",
        ["did you mean 'at_step', or sampling.sampler.steps?"],
    ),
    "a field of what a list holds, outside of its part": (
        "kernel = 5",
        ["did you mean kernel in an item of model.attention?"],
    ),
    "a field of what a list holds, outside of the list": (
        "model = { kernel = 5 }",
        ["did you mean kernel in an item of model.attention?"],
    ),
    "a field of what a list holds, in another part": (
        "training = { window = 8 }",
        ["did you mean window in an item of model.attention?"],
    ),
    "a field of what a list holds, of another kind": (
        'model = { attention = [{ kind = "global", kernel = 5 }, { kind = "global" }] }',
        ["'kernel' at model.attention[0]", "expected  kind\n", "use one of the names above"],
    ),
    "a number where a text belongs": (
        'data = { dataset = { kind = "folder", name = 5, digest = "", images = 4 } }',
        ["data.dataset.name = 5", "expected  a text", 'name = "5"'],
    ),
    "a wrong type of table": ("training = 3", ["training"]),
    "a misspelt data set": ('data = { dataset = { kind = "imagnet" } }', ["'imagnet'", "did you mean 'imagenet'"]),
    "a resolution that is no number": (
        'data = { resolution = "128" }',
        ['data.resolution = "128"', "a whole number", "resolution = 128", "mine.toml:4"],
    ),
    "a wrong type of kind": (
        "data = { dataset = { kind = [] } }",
        ["data.dataset.kind = []", "one of: imagenet, ffhq", "mine.toml:4"],
    ),
    "a missing field": ('model = { kind = "dit", patch = 4, depth = 2 }', ["'width' is missing"]),
    "heads that do not divide": ("model = { heads = [5, 12] }", ["384", "no multiple of 5 heads"]),
    "levels that do not agree": ("model = { depths = [2] }", ["depths names 1 levels and widths 2"]),
    "a kernel too large": (
        'model = { attention = [{ kind = "neighborhood", kernel = 33 }, { kind = "global" }] }',
        ["128 x 128", "at least 132 x 132 (kernel 33 of attention[0])"],
    ),
    "a kernel too large for patches that are no squares": (
        "model = { patch = [4, 32] }",
        ["128 x 128", "at least 28 x 224 (kernel 7 of attention[0])"],
    ),
    "a window that does not divide": (
        'model = { attention = [{ kind = "shifted-window", window = 6 }, { kind = "global" }] }',
        ["128 x 128", "multiples of 24 x 24 (patches, merges and windows)"],
    ),
    "a resolution that does not divide": ("data = { resolution = 100 }", ["100 x 100", "multiples of 8"]),
    "images that would be enlarged": (
        'data = { dataset = { kind = "ffhq" }, resolution = 2048 }',
        ["data", "images of ffhq have 1024 pixels a side", "2048 would enlarge them"],
    ),
    "a sampler of another diffusion": ('sampling = { sampler = { kind = "ancestral" } }', ["ancestral", "edm"]),
    "a probability": ("training = { class_dropout = 1.5 }", ["class_dropout", "1.5"]),
    "a model that is no table": ("model = 3", ["model is a table", "model = 3", "mine.toml"]),
    "a source that is no table": ('source = "me"', ["source is a table"]),
    "a label that is no text": ("label = 3", ["label is a text"]),
    "a note that is no text": ("note = [1]", ["note is a text"]),
    "a group that is no text": ("group = 3", ["group is a text"]),
    "extends that is no name": ("extends = 3", ["extends", "3"]),
    "a parent that is not": ('extends = "table1/Z"', ["row of table1", "'Z'"]),
    "a parent in other case": ('extends = "table1/e"', ["'e'", "did you mean 'E'"]),
    "an experiment for a parent": ('extends = "ffhq1024"', ['extends = "ffhq1024/ffhq1024"']),
    "a source of no part": ('source = { "modl.widths" = "Table 6" }', ["modl", "did you mean 'model'"]),
    "a source of no field": (
        'source = { "model.widhts" = "Table 6" }',
        ["no field of model called 'widhts'", "source 'model.widhts'", "mine.toml:4", "did you mean 'widths'"],
    ),
    "a source of no field within a field": (
        "source = { training = { optimizer = { learning_rat = 'Table 6' } } }",
        ["no field of training.optimizer called 'learning_rat'", "did you mean 'learning_rate'"],
    ),
    "a source of no field within a value": ('source = { "model.widths.first" = "Table 6" }', ["'first'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(folder, name):
    text, wanted = REFUSED[name]
    folder(
        "mine",
        ("" if "extends" in text else '[row.x]\nextends = "table1/E"\n')
        + ("[row.x]\n" if "extends" in text else "")
        + text,
    )
    with pytest.raises(UserError) as caught:
        jobs.load("mine")
    for part in wanted:
        assert part in str(caught.value), str(caught.value)
    assert caught.value.exit_code == 2


def test_a_remark_in_base_on_no_field_is_refused(folder):
    folder("mine", '[base.source]\n"model.depthz" = "me"\n[row.x]\n')
    with pytest.raises(UserError, match=r"field of model called 'depthz'(.|\n)*mine\.toml, \[base\]"):
        jobs.load("mine")


def test_a_circle_of_extends_is_refused(folder):
    folder("mine", '[row.x]\nextends = "y"\n[row.y]\nextends = "mine/x"\n')
    with pytest.raises(UserError, match=r"circle(.|\n)*mine\.toml:3"):
        jobs.load("mine")


def test_an_error_names_the_line(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\n\n[row.x.model]\nwidths = [384, 768]\ndepthz = [2, 11]\n')
    with pytest.raises(UserError, match=r"mine\.toml:7"):
        jobs.load("mine")
    folder("mine", '[row.y]\n[row.x]\nextends = "table1/EE"\n')
    with pytest.raises(UserError, match=r"table1/EE(.|\n)*mine\.toml:4"):
        jobs.load("mine", rows=["x"])


def test_a_file_that_is_no_toml_is_refused_with_its_line(folder):
    folder("mine", "[row.x\n")
    with pytest.raises(UserError, match="line 2"):
        jobs.load("mine")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"training = {{ steps = {'9' * 5000} }}", "digits"),
        (f"model = {{ widths = {'[' * 2000}{']' * 2000} }}", "recursion"),
    ],
    ids=["a number of thousands of digits", "lists too deep"],
)
def test_what_no_reader_of_toml_can_hold_is_refused(folder, text, why):
    folder("mine", f'[row.x]\nextends = "table1/E"\n{text}\n')
    with pytest.raises(UserError, match=rf"is no TOML(.|\n)*mine\.toml: .*{why}"):
        jobs.load("mine")


def test_a_file_in_another_encoding_is_refused_with_what_mends_it(folder):
    path = folder("mine", '[row.x]\nextends = "table1/E"\n')
    path.write_bytes(path.read_bytes() + "# é\n".encode("latin-1"))
    with pytest.raises(UserError, match="save it as UTF-8"):
        jobs.load("mine")


def test_a_file_that_says_another_name_is_refused(folder, tmp_path):
    folder("mine", '[row.x]\nextends = "table1/E"\n').rename(tmp_path / "jobs" / "yours.toml")
    with pytest.raises(UserError, match="own name"):
        jobs.load("yours")
    (tmp_path / "jobs" / "ours.toml").write_text('[row.x]\nextends = "table1/E"\n')
    assert jobs.find("ours/x").experiment == "ours", "a file need not say its name"


@pytest.mark.parametrize("name", ["table1/Z", "tabel1/E", "ffhq", "table1"])
def test_unknown_runs_are_refused_with_what_there_is(name):
    with pytest.raises(UserError) as caught:
        jobs.find(name)
    assert caught.value.expected


def test_a_broken_file_is_not_what_a_misspelt_run_is_refused_for(folder):
    folder("mine", "[row.x\n")
    with pytest.raises(UserError, match=r"no run called 'tabel1/E'(.|\n)*did you mean 'table1/E'"):
        jobs.find("tabel1/E")


def test_an_unknown_scale_is_refused():
    with pytest.raises(UserError, match="scale"):
        jobs.load("table1", "smok")


def test_rows_that_cannot_be_do_not_stand_in_the_way_of_others(folder, tmp_path):
    whole = {job.name for job in jobs.all_jobs("smoke")}
    folder(
        "deep", '[row.deep]\nextends = "table1/E"\nmodel = { dropout = [0.0, 0.0, 0.0] }\n[row.good]\nextends = "D"\n'
    )
    folder("ten", '[row.bad]\nextends = "table1/E"\nmodel = { classes = 10 }\n[row.good]\nextends = "table1/D"\n')
    folder("cut", "[row.x\n")
    with pytest.raises(UserError):
        jobs.all_jobs("smoke")
    assert {job.name for job in jobs.standing("smoke")} == whole | {"ten/good"}
    assert names_of(jobs.find("table1/E", "smoke"))[0] == "table1/E"


def test_a_link_that_leads_nowhere_is_no_job_file(folder, tmp_path):
    (tmp_path / "jobs" / "gone.toml").symlink_to(tmp_path / "nowhere.toml")
    assert "gone" not in jobs.experiments()
    assert jobs.find("table1/E").name == "table1/E"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('base = 3\n[row.x]\nextends = "table1/E"\n', "base is a table"),
        ('base = "model"\n[row.x]\nextends = "table1/E"\n', "base is a table"),
        ('title = 3\n[row.x]\nextends = "table1/E"\n', "title is a text"),
        ("[base]\ntraining = 3\n[row.x]\n", "training is a table"),
        ('[base.training]\nstepz = 3\n[row.x]\nextends = "table1/E"\n', "base. is used by no row"),
    ],
)
@pytest.mark.parametrize("scale", ["paper", "smoke"])
def test_a_file_of_wrong_types_is_refused(folder, text, wanted, scale):
    folder("mine", text)
    with pytest.raises(UserError, match=wanted):
        jobs.load("mine", scale)


@pytest.mark.parametrize("name", ["", "a/b", "p,q", "-r", " x", "x ", "new\\nline", "nul\\u0000", "c1\\u009b"])
def test_a_row_that_no_command_can_name_is_refused(folder, name):
    folder("mine", f'[row."{name}"]\nextends = "table1/E"\n')
    with pytest.raises(UserError, match="name that no command can say"):
        jobs.load("mine")


def test_a_name_with_a_dot_is_told_of_its_quotes(folder):
    folder("mine", '[row.v1.5]\nextends = "table1/E"\n')
    with pytest.raises(UserError, match=r'dot without quotes(.|\n)*mine\.toml:2(.|\n)*\[row\."v1\.5"\]'):
        jobs.load("mine")


@pytest.mark.parametrize("key", ["label", "group", "note", "title"])
def test_a_text_that_would_break_tables_is_refused(folder, key):
    row = '[row.x]\nextends = "table1/E"\n'
    texts = {text: f'{key} = "{text}"\n' for text in ("a\\rb", "a\\u001b[31mb", "a\\u0085b", "a\\n\\tb")}
    *refused, lines = texts.values()
    for text in refused:
        folder("mine", text + row if key == "title" else row + text)
        with pytest.raises(UserError, match=rf"{key} has a control character(.|\n)*{key} = 'a\\(.|\n)*mine\.toml"):
            jobs.load("mine")
    folder("mine", lines + row if key == "title" else row + lines)
    assert jobs.load("mine")


def test_an_experiment_that_no_command_can_name_is_refused(folder):
    folder("mi\rne", '[row.x]\nextends = "table1/E"\n')
    with pytest.raises(UserError, match=r"name that no command can say(.|\n)*'mi\\rne'"):
        jobs.load("mi\rne")


def test_levels_that_are_no_list_are_refused_at_every_scale(folder):
    folder("mine", '[row.x]\nextends = "table1/E"\nmodel = { widths = 3 }\n')
    for scale in jobs.SCALES:
        with pytest.raises(UserError, match=r"mine\.toml:4(.|\n)*model\.widths"):
            jobs.load("mine", scale)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("smoke = 3", "smoke is a table"),
        ("[smoke]\nall = 3", "all is a table"),
        ("[smoke.shape]\nhourglass-2 = 3", "hourglass-2 is a table"),
        ("[smoke.all]\ntraining = 3", "training is a table"),
        ("[paper.all]\ntraining = { steps = 3 }", "no key called 'paper'"),
        ("[smoke.al]\ntraining = { steps = 3 }", "did you mean 'all'"),
        ("[smoke.shape.hourglas-2]\ntraining = { steps = 3 }", "did you mean 'hourglass-2'"),
        ("[smoke.experiment.tabel1]\ntraining = { steps = 3 }", "did you mean 'table1'"),
        ('[smoke.row."table1/EE"]\ntraining = { steps = 3 }', "row of table1 called 'EE'"),
        ('[mini.row."table11/E"]\ntraining = { steps = 3 }', "did you mean 'table1'"),
        ('\n[smoke.row."table1/E"]\ntraining = { stepz = 3 }', r'scales\.toml:3, \[smoke\.row\."table1/E"\]'),
        ("[smoke.all]\ntraining = { stepz = 3 }", r"fix +did you mean 'steps'\?"),
        ('[smoke.all]\ntraining = { steps = "3" }', r"fix +steps = 3$"),
        ("[smoke.all]\nsteps = 3", r"fix +did you mean sampling.sampler.steps, or training.steps\?"),
        ("[smoke.all]\ntraining = { steps = 1.5 }", r"scales\.toml:2, \[smoke\.all\]: training\.steps"),
    ],
)
def test_scales_that_nobody_understands_are_refused(folder, tmp_path, text, wanted):
    (tmp_path / "jobs" / "scales.toml").write_text(text + "\n")
    with pytest.raises(UserError, match=wanted):
        jobs.find("table1/E", "smoke")


def test_a_broken_file_does_not_make_its_rows_scales_unknown(folder, tmp_path):
    folder("mine", "[row.x\n")
    (tmp_path / "jobs" / "scales.toml").write_text('[smoke.row."mine/x"]\ntraining = { steps = 3 }\n')
    assert jobs.find("table1/E", "smoke").row == "E"


def test_too_few_images_of_ones_own_are_no_fault_of_a_job_file():
    few = Folder(name="two", digest="0" * 64, images=2)
    with pytest.raises(UserError, match=r"too few images(.|\n)*--data: 2 in two"):
        jobs.find("table1/E", "smoke", dataset=few)


def test_a_row_that_a_scale_makes_impossible_is_told_where_to_say_more(folder):
    """Four levels of a paper row have no outline at smoke scale, where the innermost grid is smaller than a kernel."""
    near = '{ kind = "neighborhood", kernel = 7 }'
    row = f"""[row.deep]
    extends = "table1/E"
    [row.deep.model]
    patch = 2
    widths = [64, 64, 64, 64]
    depths = [1, 1, 1, 1]
    heads = [1, 1, 1, 1]
    dropout = []
    attention = [{near}, {near}, {near}, {{ kind = "global" }}]
    """
    folder("mine", row)
    assert jobs.find("mine/deep")
    with pytest.raises(UserError, match=r"at least 28 x 28 \(kernel 7 of attention\[2\]\)") as caught:
        jobs.find("mine/deep", "smoke")
    assert '[smoke.row."mine/deep"], or [smoke.shape.hourglass-4]' in caught.value.fix
    folder("mine", row.replace("kernel = 7", "kernel = 71"))
    with pytest.raises(UserError, match=r"at least 284 x 284 \(kernel 71 of attention\[2\]\)") as caught:
        jobs.find("mine/deep", "smoke")
    assert "scales.toml" not in caught.value.fix, "at paper scale it cannot be either"
