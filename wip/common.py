"""What both builders share."""
import statistics, nbformat
IGN = "nbval-ignore-output"
class Book:
    def __init__(self): self.cells = []
    def md(self, t): self.cells.append(nbformat.v4.new_markdown_cell(t.strip("\n")))
    def code(self, t, *tags):
        c = nbformat.v4.new_code_cell(t.strip("\n"))
        if tags: c.metadata["tags"] = list(tags)
        self.cells.append(c)
    def exercises(self, number, ids, placeholders):
        start = len(self.cells)
        self.md("## Exercises\n\nYour answers are kept on this computer, so running a cell again brings them back. The best answer counts; a hint costs a tenth of the points. Where a cell has `...`, put your code in its place, run the cell, and press Check. With the keyboard: Tab moves, Space presses.")
        self.code("from course_utils.grading.dashboard import dashboard\nfrom course_utils.grading.view import exercise")
        for id in ids:
            head = f"def {placeholders[id]}:\n    ...\n\n\n" if id in placeholders else ""
            self.code(f'{head}exercise("{id}")')
        self.code(f'dashboard("{number}")')
        for n, c in enumerate(self.cells[start:]): c["id"] = f"exercise-{n:02d}"
        self.marked = set(range(start, len(self.cells)))
    def write(self, path, fill):
        n = 0
        for i, c in enumerate(self.cells):
            for k, v in fill.items(): c.source = c.source.replace(k, v.strip("\n"))
            if i not in getattr(self, "marked", set()):
                c["id"] = f"cell-{n:02d}"; n += 1
        nb = nbformat.v4.new_notebook(cells=self.cells)
        nb.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
        nbformat.validate(nb); nbformat.write(nb, path)
        cc = [c for c in self.cells if c.cell_type == "code"]
        ig = sum(IGN in c.metadata.get("tags", []) for c in cc)
        L = [sum(bool(l.strip()) for l in c.source.splitlines()) for c in cc]
        print(path, len(cc), "code", ig, "ignored", "median", statistics.median(L), "max", max(L), "over 100:", [l for c in cc for l in c.source.splitlines() if len(l) > 100])
