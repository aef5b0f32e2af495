package program

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// The formats of OutputFlag.
const (
	FormatTable = "table"
	FormatWide  = "wide" // a table with more in it
	FormatJSON  = "json"
	FormatYAML  = "yaml"
)

// OutputFlag adds -o. An unknown format is refused before the command runs.
func OutputFlag(cmd *cobra.Command) *string {
	format := cmd.Flags().StringP("output", "o", FormatTable, "format: table, wide, json or yaml")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		switch *format {
		case FormatTable, FormatWide, FormatJSON, FormatYAML:
			return nil
		}
		return jobs.Errorf(jobs.Invalid, "-o %.40s: expected table, wide, json or yaml", *format)
	}
	return format
}

// Sheet is a text for people: lines with a label each, and tables.
type Sheet struct {
	blocks []block
}

// block is rows that are aligned with each other.
type block struct {
	table bool
	rows  [][]string
}

// Line adds a labelled line. Lines that follow each other are aligned.
func (s *Sheet) Line(label, format string, args ...any) {
	if n := len(s.blocks); n == 0 || s.blocks[n-1].table {
		s.blocks = append(s.blocks, block{})
	}
	last := &s.blocks[len(s.blocks)-1]
	last.rows = append(last.rows, []string{label, fmt.Sprintf(format, args...)})
}

// List adds a heading and a line for each text, or nothing where there is none.
func (s *Sheet) List(heading string, texts []string) {
	if len(texts) == 0 {
		return
	}
	b := block{table: true, rows: [][]string{{heading}}}
	for _, t := range texts {
		b.rows = append(b.rows, []string{"  " + t})
	}
	s.blocks = append(s.blocks, b)
}

// Table adds a table, or nothing where it has no rows.
func (s *Sheet) Table(header []string, rows [][]string) {
	if len(rows) > 0 {
		s.blocks = append(s.blocks, block{table: true, rows: append([][]string{header}, rows...)})
	}
}

func (s *Sheet) write(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for i, b := range s.blocks {
		if i > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		for _, row := range b.rows {
			cells := make([]string, len(row))
			for i, cell := range row {
				cells[i] = clean(cell)
			}
			if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
				return err
			}
		}
		if err := w.Flush(); err != nil { // the next block has columns of its own
			return err
		}
	}
	return nil
}

// Show writes a value as JSON or YAML, or the sheet that says the same to people.
func Show(to io.Writer, format string, value any, sheet *Sheet) error {
	if format == FormatTable || format == FormatWide {
		return sheet.write(to)
	}
	if format == FormatYAML {
		return ShowYAML(to, value)
	}
	e := json.NewEncoder(to)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// clean makes a text that may come from a peer or a job harmless for a terminal, on one line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// Brief is one line of a text for people, of at most so many bytes of valid UTF-8.
func Brief(text string, most int) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.ToValidUTF8(line[:min(len(line), most)], "?")
}

// Count returns such as "1 unit" and "2 units".
func Count[N int | uint32 | uint64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// Millis returns a time for people, with three digits: 12.3 ms, 2.05 s.
func Millis(ms float64) string {
	if ms >= 1000 {
		return fmt.Sprintf("%.3g s", ms/1000)
	}
	return fmt.Sprintf("%.3g ms", ms)
}

// Bytes returns a size for people.
func Bytes(n uint64) string {
	size, units := float64(n), []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	for size >= 1024 && len(units) > 1 {
		size, units = size/1024, units[1:]
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", size), ".0") + " " + units[0]
}
