package ctl

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"idlegrid/coordinator/internal/terms"
)

// sections are the view for people.
func (v *describeView) sections() []section {
	all := []section{
		{title: "Job", rows: v.jobRows()},
		{title: "Runs", rows: terms.Rows(v.manifest, v.inputs)},
		{title: "Records", rows: v.shardRows()},
	}
	if len(v.Workers) > 0 {
		all = append(all, section{title: "Agents at work", rows: v.workerRows()})
	}
	if len(v.Failures) > 0 {
		all = append(all, section{title: fmt.Sprintf("Failures (%d of %d)", len(v.Failures), v.Failed+v.Conflict), rows: v.failureRows()})
	}
	return all
}

func (v *describeView) jobRows() [][]string {
	submitter := v.Submitter[:8]
	if v.mine {
		submitter += ", you"
	}
	kept := minute(v.Expires)
	if !v.kept() {
		kept = "an hour after it was " + v.State
	}
	rows := [][]string{
		{"id", v.ID},
		{"name", v.Name},
		{"submitter", submitter},
		{"created", minute(v.Created)},
		{"results kept until", kept},
		{"state", v.State},
		{"units", v.progressText()},
	}
	if v.CPU > 0 {
		rows = append(rows, []string{"CPU", seconds(v.CPU).Round(time.Millisecond).String() + " of work that counts"})
	}
	return rows
}

// progressText returns such as "200: 120 accepted, 3 failed, 77 open, of which 8 are lent".
func (v *describeView) progressText() string {
	var parts []string
	add := func(n uint64, what string) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, what))
		}
	}
	add(v.Accepted, "accepted")
	add(v.Failed, "failed")
	add(v.Conflict, "in conflict")
	add(v.Open, "open")
	if v.Open > 0 {
		add(v.Lent, "of them lent")
	}
	add(v.Differs, "with outcomes that differ")
	if len(parts) == 0 {
		return fmt.Sprint(v.Units)
	}
	return fmt.Sprintf("%d: %s", v.Units, strings.Join(parts, ", "))
}

func (v *describeView) shardRows() [][]string {
	rows := [][]string{{"SHARD", "STEWARD", "CLASS", "ANSWERS", "OPEN", "ACCEPTED", "FAILED"}}
	for _, shard := range v.Shards {
		if len(shard.Stewards) == 0 {
			rows = append(rows, []string{fmt.Sprint(shard.Shard), "none", "-", "-", "-", "-", "-"})
		}
		for _, s := range shard.Stewards {
			row := []string{fmt.Sprint(shard.Shard), s.short, s.Class, "no", "-", "-", "-"}
			if s.Answers {
				row = append(row[:3], "yes", fmt.Sprint(s.Open), fmt.Sprint(s.Accepted), fmt.Sprint(s.Failed))
			}
			rows = append(rows, row)
		}
	}
	if more := int(v.Manifest.Shards) - len(v.Shards); more > 0 {
		rows = append(rows, []string{"…", count(more, "shard") + " more"})
	}
	return rows
}

func (v *describeView) workerRows() [][]string {
	rows := [][]string{{"AGENT", "CLASS"}}
	for _, w := range v.Workers {
		rows = append(rows, []string{w.ID[:8], cmp.Or(w.Class, "-")})
	}
	return rows
}

func (v *describeView) failureRows() [][]string {
	rows := [][]string{{"UNIT", "STATUS", "KIND", "ATTEMPTS", "AGENT", "TEXT"}}
	for _, f := range v.Failures {
		agent := "-"
		if f.Agent != "" {
			agent = f.Agent[:8]
		}
		rows = append(rows, []string{fmt.Sprint(f.Unit), f.Status, cmp.Or(f.Kind, "-"), fmt.Sprint(f.Attempts), agent, brief(f.Text)})
	}
	return rows
}
