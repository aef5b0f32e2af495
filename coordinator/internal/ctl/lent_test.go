package ctl

import (
	"math"
	"slices"
	"strings"
	"testing"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestLentRows: who has a unit, and the age of its newest checkpoint, whatever a steward says.
func TestLentRows(t *testing.T) {
	agent := jobs.AgentID{0xab, 0xcd}
	age, absurd := uint64(35_000), uint64(math.MaxUint64)
	list := []*gridv1.LentUnit{
		{Unit: 3, Agent: agent[:], SavedAgeMs: &age, SavedCpuUs: 130e6, SavedBytes: 64 << 20},
		{Unit: 4, Agent: agent[:]},
		{Unit: 5, Agent: []byte("short"), SavedAgeMs: &absurd},
	}
	var got []string
	for _, row := range lentRows(list, true) {
		got = append(got, strings.Join(row, "|"))
	}
	want := []string{"UNIT|AGENT|CHECKPOINT|AT CPU|SIZE", "3|abcd0000|35s ago|2m10s|64 MiB", "4|abcd0000|none yet|-|-"}
	if !slices.Equal(got[:3], want) || !strings.HasPrefix(got[3], "5|-|") || !strings.Contains(got[3], " ago|") {
		t.Errorf("%q, expected %q", got, want)
	}
	if row := lentRows(list[1:2], false)[1]; row[2] != "-" {
		t.Errorf("of a job without checkpoints: %q", row)
	}
}
