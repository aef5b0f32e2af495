package ctl

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"idlegrid/agent/program"
	"idlegrid/jobs"
)

// The formats of data, by the name that -o takes.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatName  = "name"
	formatCSV   = "csv" // of few verbs
)

func formats() []string { return []string{formatTable, formatWide, formatJSON, formatYAML, formatName} }

// outputFlagName is the long name of -o.
const outputFlagName = "output"

// outputFlag gives a verb -o, with more formats than all have. The verb then writes its data by show.
func (a *app) outputFlag(cmd *cobra.Command, more ...string) {
	cmd.Annotations = map[string]string{outputFlagName: strings.Join(more, " ")}
	cmd.Flags().StringVarP(&a.format, outputFlagName, "o", formatTable, "`FORMAT` of the data: "+either(formatsOf(cmd)))
	complete := cobra.FixedCompletions(formatsOf(cmd), cobra.ShellCompDirectiveNoFileComp)
	mustComplete(cmd.RegisterFlagCompletionFunc(outputFlagName, complete))
}

// formatsOf returns the formats of a verb.
func formatsOf(cmd *cobra.Command) []string {
	return append(formats(), strings.Fields(cmd.Annotations[outputFlagName])...)
}

// checkFormat refuses a format that a verb does not have; said is how the person asked for it.
func checkFormat(cmd *cobra.Command, said, format string) error {
	if slices.Contains(formatsOf(cmd), format) {
		return nil
	}
	return jobs.Errorf(jobs.Invalid, "%s: expected %s", said, either(formatsOf(cmd)))
}

// isDocument reports whether standard output is one document for a program, to which nothing may be added.
func (a *app) isDocument() bool { return a.format != formatTable && a.format != formatWide }

// data is what a verb shows: one thing, as each format has it.
type data struct {
	value  any        // of json and yaml; both use the names in its json tags
	rows   [][]string // of wide; of table the first columns
	narrow int        // how many columns a table has; 0: all
	names  []string   // of name: IDs, or what else a verb's argument would be
	csv    [][]string // of csv, where a verb has it

	sections []section // of table and wide, in place of rows
}

// section is a table with a title.
type section struct {
	title string
	rows  [][]string
}

// show writes data in the format that was asked for.
func (a *app) show(d data) error {
	switch a.format {
	case formatJSON:
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		return e.Encode(d.value)
	case formatYAML:
		return program.ShowYAML(a.stdout, d.value)
	case formatCSV:
		return csv.NewWriter(a.stdout).WriteAll(d.csv)
	case formatName:
		for _, name := range d.names {
			if _, err := fmt.Fprintln(a.stdout, clean(name)); err != nil {
				return err
			}
		}
		return nil
	}
	if len(d.sections) > 0 {
		return showSections(a.stdout, d.sections)
	}
	if a.format == formatWide {
		d.narrow = 0
	}
	return showTable(a.stdout, d.rows, d.narrow)
}

// showSections writes tables one after the other, indented below their titles.
func showSections(to io.Writer, sections []section) error {
	for i, s := range sections {
		title := s.title
		if i > 0 {
			title = "\n" + title
		}
		if _, err := fmt.Fprintln(to, title); err != nil {
			return err
		}
		rows := make([][]string, len(s.rows))
		for i, row := range s.rows {
			rows[i] = append([]string{"  " + row[0]}, row[1:]...)
		}
		if err := showTable(to, rows, 0); err != nil {
			return err
		}
	}
	return nil
}

// showTable aligns the columns; only the first few if narrow is not 0.
func showTable(to io.Writer, rows [][]string, narrow int) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if narrow > 0 && narrow < len(row) {
			row = row[:narrow]
		}
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

// clip cuts what a person typed for an error message.
func clip(s string) string { return fmt.Sprintf("%.40s", s) }

// either returns such as "a, b or c".
func either(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// day returns a day as people's output has it, in their own time zone.
func day(t time.Time) string { return t.Local().Format(time.DateOnly) }

// minute returns a moment as people's output has it, in their own time zone.
func minute(t time.Time) string { return t.Local().Format("2006-01-02 15:04") }

// count returns such as "1 unit" and "2 units".
func count[N int | uint64](n N, noun string) string { return program.Count(n, noun) }

// bytesText returns a size for people.
func bytesText[N int64 | uint64](n N) string { return program.Bytes(uint64(n)) }
