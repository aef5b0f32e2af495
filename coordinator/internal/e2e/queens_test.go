package e2e_test

import (
	"strings"
	"testing"
)

// TestQueens runs the example in C whose units are checkpointed at calls of grid.checkpoint, on this machine. How many
// ways there are is known.
func TestQueens(t *testing.T) {
	program := builtInC(t, "queens", "clang", "wasm-opt")
	t.Parallel()
	g := emptyGrid(t, patience)
	job := g.example("queens", "small.yaml", program)
	if out := g.must("gridctl", "validate", job).stdout; !strings.Contains(out, ", its memory, at calls of grid.checkpoint\n") {
		t.Errorf("validate says:\n%s", out)
	}
	out := g.must("gridctl", "run", job, "-d", "local").stdout
	text, board, _ := strings.Cut(out, "\n\n")
	if want := "12 queens stand on a board of 12 x 12 in 14200 ways.\nOne of them:"; text != want {
		t.Errorf("combine printed %q, expected %q", text, want)
	}
	checkQueens(t, board, 12)
}

// checkQueens checks that a board has a queen in each row, and none that another one attacks.
func checkQueens(t *testing.T, board string, queens int) {
	t.Helper()
	rows := strings.Split(strings.TrimSpace(board), "\n")
	columns, left, right := map[int]bool{}, map[int]bool{}, map[int]bool{}
	for row, text := range rows {
		column := strings.Index(text, "Q") / 2
		if strings.Count(text, "Q") != 1 || len(text) != 2*queens-1 {
			t.Fatalf("row %d is %q", row, text)
		}
		columns[column], left[row+column], right[row-column] = true, true, true
	}
	if len(rows) != queens || len(columns) != queens || len(left) != queens || len(right) != queens {
		t.Errorf("these are not %d queens that leave each other alone:\n%s", queens, board)
	}
}
