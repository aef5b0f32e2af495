// Package terms says in words what a job asks for: the same in gridctl and on the coordinator's page.
package terms

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"idlegrid/agent/program"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// maxNamed bounds the inputs that are named.
const maxNamed = 5

// Rows returns what a job runs, in the words of job.yaml, as pairs of a name and a value. Inputs are nil where it is
// not known which the job has.
func Rows(m *manifest.Manifest, inputs []manifest.Input) [][]string {
	rows := [][]string{{"program", content(m.Program)}}
	if len(m.Args) > 0 {
		rows = append(rows, []string{"args", args(m.Args)})
	}
	for _, e := range m.Env {
		rows = append(rows, []string{"env", e.Name + "=" + e.Value})
	}
	if !m.Stdin.IsZero() {
		rows = append(rows, []string{"stdin", content(m.Stdin)})
	}
	rows = append(rows,
		[]string{"inputs", inputsText(m, inputs)},
		[]string{"bundle", fmt.Sprintf("%s, %s in %s",
			program.Count(m.Bundle, "unit"), program.Count(m.Bundles(), "bundle"), program.Count(m.Shards(), "shard"))},
		[]string{"quorum", program.Count(m.Quorum, "owner")},
		[]string{"memory", program.Bytes(m.Memory) + " a unit"},
		[]string{"timeout", m.Timeout.String() + " a unit"},
		[]string{"checkpoint", Checkpoint(m.CheckpointEvery())},
		[]string{"retries", fmt.Sprint(m.Retries)},
		[]string{"success codes", strings.Trim(fmt.Sprint(m.SuccessCodes), "[]")},
		[]string{"keep", Keep(m.Expires.Sub(m.Created))},
	)
	if m.Combine == nil {
		return append(rows, []string{"combine", "none"})
	}
	what := "the same program"
	if m.Combine.Program != m.Program {
		what = content(m.Combine.Program)
	}
	if len(m.Combine.Args) > 0 {
		what += ", args " + args(m.Combine.Args)
	}
	return append(rows, []string{"combine", what})
}

func content(b jobs.Blob) string { return program.Bytes(uint64(b.Size)) + ", " + b.Digest.String() }

// args quotes the arguments that are not plainly one word.
func args(list []string) string {
	words := make([]string, len(list))
	for i, arg := range list {
		if words[i] = arg; arg == "" || strings.ContainsAny(arg, " \t\n\"'") {
			words[i] = fmt.Sprintf("%q", arg)
		}
	}
	return strings.Join(words, " ")
}

func inputsText(m *manifest.Manifest, inputs []manifest.Input) string {
	switch {
	case m.Inputs.IsZero():
		return "none"
	case inputs == nil:
		return "not known now"
	}
	var names []string
	sum := int64(0)
	for i, in := range inputs {
		sum += in.Blob.Size
		if i < maxNamed {
			names = append(names, in.Path)
		}
	}
	if len(inputs) > maxNamed {
		names = append(names, "…")
	}
	return fmt.Sprintf("%s, %s: %s", program.Count(len(inputs), "file"), program.Bytes(uint64(sum)), strings.Join(names, ", "))
}

// Checkpoint says how often a unit's state is saved; 0 is never.
func Checkpoint(every time.Duration) string {
	if every == 0 {
		return "none"
	}
	return "every " + every.String()
}

// Keep writes whole days as job.yaml does.
func Keep(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}
