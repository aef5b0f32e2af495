package ctl

import (
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

const (
	formatTable = "table"
	formatJSON  = "json"
)

// outputFlag gives a verb -o. The verb then writes its data by show.
func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.format, "output", "o", formatTable, "format of the data: table or json")
	cmd.PreRunE = func(*cobra.Command, []string) error {
		if a.format != formatTable && a.format != formatJSON {
			return jobs.Errorf(jobs.Invalid, "-o %.40s: expected %s or %s", a.format, formatTable, formatJSON)
		}
		return nil
	}
}

// show writes data: the value as JSON, or the rows as a table with aligned columns.
func (a *app) show(value any, rows [][]string) error {
	if a.format == formatJSON {
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(value)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = clean(cell)
		}
		if _, err := fmt.Fprintln(w, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// clean makes a text that may come from a program or a peer harmless for a terminal. Line breaks stay.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// brief makes such a text one short line.
func brief(s string) string {
	const limit = 200
	line, rest, _ := strings.Cut(strings.TrimSpace(clean(s)), "\n")
	if runes := []rune(line); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	if rest != "" {
		line += " …"
	}
	return line
}

// count returns such as "1 unit" and "2 units".
func count[N int | uint64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// bytesText returns a size for people.
func bytesText[N int64 | uint64](n N) string {
	const step = 1024
	size, units := float64(n), []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	for size >= step && len(units) > 1 {
		size, units = size/step, units[1:]
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", size), ".0") + " " + units[0]
}
