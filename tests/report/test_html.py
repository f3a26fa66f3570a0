"""The pages open from a folder: nothing in them points to a network, all that they point to is there."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
from bitbook.report._html import body_of, captioned, mathml, number, percent, write_report
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output


class References(HTMLParser):
    """Collects what a page loads or links to, and its text."""

    def __init__(self, path: Path):
        super().__init__()
        self.found, self.text, self.tags, self.images = [], "", [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.images += [dict(attributes)] if tag == "img" else []
        self.found += [value for name, value in attributes if name in ("src", "href", "action", "data") and value]

    def handle_data(self, data):
        self.text += data


def test_pages_load_nothing_from_a_network_and_all_they_point_to_is_there(report):
    for page in report.rglob("*.html"):
        references = References(page)
        assert "script" not in references.tags
        for reference in references.found:
            if reference.startswith(("data:image/", "data:,")):
                continue
            if reference.startswith("https://arxiv.org"):  # a link that a reader may follow, not something loaded
                continue
            assert (page.parent / reference.partition("#")[0]).exists(), (page, reference)
    style = (report / "style.css").read_text()
    assert not re.search(r"url\(|@import|https?:", style)


def test_the_index_shows_the_results_and_leads_to_every_page(report, png):
    index = References(report / "index.html")
    for text in ("MOEA bins", "6x <b>", "98.61%", "± 0.12%", "99.44%", "9,501", "6.09", "14,458", "Bins of"):
        assert text in index.text, text
    assert {"tiny-s0.html", "tiny-a.html", "digits.moea_bins.html", "style.css"} <= set(index.found)
    assert (report / "figures/tiny-a-1.png").read_bytes() == png


def test_the_index_opens_with_a_figure_and_the_main_rows(report):
    html = (report / "index.html").read_text()
    places = [html.index(text) for text in ('src="figures/digits.svg"', "6x &lt;b&gt;", "By network and method")]
    assert places == sorted(places) and ">8x<" not in html
    assert "<svg" in (report / "figures/digits.svg").read_text()


def test_numbers_lead_to_their_notebook_and_file_where_these_are(report):
    page = References(report / "digits.moea_bins.html")
    assert page.text.index("8x") < page.text.index("16x") and "figures/tiny-a-1.png" in page.found
    assert page.found.count("files/tiny-a-6x.html") == 1 and "tiny-a.html" in page.found
    assert not any("other" in reference for reference in page.found)
    file = References(report / "files/tiny-a-6x.html")
    assert {"../index.html", "../../runs/tiny-a/6x.bitbook"} <= set(file.found)
    assert "A small CNN on digits: MOEA bins, 6x <b>" in file.text


def test_every_picture_says_in_words_what_it_is(report):
    pictures = [image for page in report.glob("*.html") for image in References(page).images]
    assert len(pictures) == 4
    assert all(image["alt"] and "No description" not in image["alt"] for image in pictures)
    notebook = (image["alt"] for image in References(report / "tiny-a.html").images)
    assert list(notebook) == ["Figure 1. Bins of $k$ values"]


def test_a_caption_says_what_the_code_above_the_figure_draws():
    codes = {
        "figures.ledger(file.ledger());": "where the bytes of a file go, largest part first",
        'figures.lines(x, y, xlabel="epoch", ylabel="seconds");': "seconds against epoch",
        'names = {"xlabel": "k", "ylabel": "kB"}\nfigures.lines(x, y, **names)': "kB against k",
        'figures.bars(bits, xlabel="bits per weight")': "bits per weight, one bar for each name",
        "pipeline.draw_fronts(table, task);": "fronts of quality against size",
    }
    cells = [new_markdown_cell("# A\n## Which of `x`?")]
    cells += [new_code_cell(code, outputs=[new_output("display_data", data={"image/png": ""})]) for code in codes]
    for place, (caption, what) in enumerate(zip(captioned(new_notebook(cells=cells)), codes.values(), strict=True), 1):
        assert caption.startswith(f"Figure {place}. Which of x? {what}")
    two = new_code_cell("figures.ledger(a)\nfigures.fronts(b)", outputs=2 * cells[1].outputs)
    first, second = captioned(new_notebook(cells=[two]))
    assert "bytes of a file" in first and "fronts of" in second


def test_a_data_frame_has_one_header_and_other_tables_stay():
    frame = pd.DataFrame({"ratio": [8, 12]}, index=pd.Index(["a", "b"], name="variant"))
    for table, header in (
        (frame, '<thead><tr><th class="name">variant</th><th>ratio</th></tr></thead>'),
        (frame.rename_axis("x", axis=1), None),
        (frame.rename_axis(None), None),
        (frame.reset_index(), '<thead>\n<tr style="text-align: right;">\n<th>variant</th>'),
        (pd.concat({"of": frame}, axis=1), None),
    ):
        plain = re.search(r"<thead>.*?</thead>", re.sub("\n +", "\n", table.to_html()), re.DOTALL)[0]
        cell = new_code_cell("f", outputs=2 * [new_output("display_data", data={"text/html": table.to_html()})])
        assert body_of(new_notebook(cells=[cell])).count(header or plain) == 2


def test_what_is_wider_than_a_page_scrolls_in_a_box_of_its_own(report):
    style = re.sub(r"/\*.*?\*/", "", (report / "style.css").read_text(), flags=re.DOTALL)
    rules = dict(re.findall(r"([^{}]+)\{([^{}]*)\}", style))
    (boxes,) = [names for names, rule in rules.items() if "local" in rule and "overflow-x: auto" in rule]
    assert {".scroll", ".output_html", ".output_png", ".output_svg"} <= {name.strip() for name in boxes.split(",")}


def test_formulas_become_mathml_and_code_prices_and_what_is_unknown_do_not():
    text = "the sum $a_1$ of $$b \\ge 2$$ and `$c$`, 5 $, or\n```\n$d$\n```\n and $\\unheardof$"
    html = body_of(new_notebook(cells=[new_markdown_cell(text)]))
    assert html.count("<math ") == 2 and "<msub><mi>a</mi><mn>1</mn></msub>" in html
    assert html.count('display="block"') == 1 and "≥" in html
    assert "<code>$c$</code>, 5 $, or" in html
    assert r"<code>$\unheardof$</code>" in html
    assert mathml(r"\frac") == r"<code>$\frac$</code>"  # an error of the package's


def test_pasted_images_are_shown(tmp_path):
    cell = new_markdown_cell("![x](attachment:x.png)", attachments={"x.png": {"image/png": "iVBORw=="}})
    assert 'src="data:image/png;base64,iVBORw==' in body_of(new_notebook(cells=[cell]))
    cell = new_markdown_cell("![x](<attachment:a b.png>)", attachments={"a b.png": {"image/png": "iVBORw=="}})
    assert 'src="data:image/png;base64,iVBORw==' in body_of(new_notebook(cells=[cell]))
    for attachments in ({}, {"x.png": {}}):
        cell = new_markdown_cell("![<b>](attachment:x.png)", attachments=attachments)
        assert "&lt;b&gt;: the pasted image is lost" in body_of(new_notebook(cells=[cell]))


def test_a_page_shows_text_outputs_and_figures_and_folds_code_away(report, png):
    html = (report / "tiny-a.html").read_text()
    page = References(report / "tiny-a.html")
    assert "a < b & c" in page.text
    assert base64.b64encode(png).decode() in html
    assert "<mi>k</mi></mrow></math>" in html
    folded = re.findall(r'<details( open="")?>.*?</details>', html, re.DOTALL)
    assert folded == [' open=""', ""]  # parameters are shown, other code on demand
    assert "secret" in page.text


def test_writing_again_replaces_what_was_there(tmp_path):
    report = tmp_path / "report"
    report.mkdir()
    (report / "old.html").touch()
    write_report(report, pages=[], rows=[])
    assert sorted(path.name for path in report.iterdir()) == ["figures", "files", "index.html", "style.css"]
    assert "No run has added a row yet." in (report / "index.html").read_text()


def test_numbers_as_people_read_them():
    assert [number(v) for v in ("14458", 0.99444, 6.0871, 1234567.5, None, "", "nsga2", [2, 3.5], [], True)] == [
        *("14,458", "0.9944", "6.087", "1,234,568", "", "", "nsga2", "2, 3.5", "none", "yes")
    ]
    assert [percent(v) for v in ("0.98611", 1, "", None)] == ["98.61%", "100.00%", "", ""]
