package ctl

import (
	"reflect"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// TestNodes shows members in every state: of a machine with an owner nothing but what it offers.
func TestNodes(t *testing.T) {
	id := func(first byte) jobs.KeyID { return jobs.KeyID{first} }
	d, agents, cores := nodesData([]peer.Member{
		{ID: id(4), Role: peer.Agent, Class: peer.Laptop, Cores: 3, Version: 1},
		{ID: id(3), Role: peer.Agent, Class: peer.Office, Reachable: true, Version: 2},
		{ID: id(2), Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true, Draining: true, Cores: 2, Version: 1},
		{ID: id(1), Role: peer.Coordinator, Reachable: true, Version: 1, Address: "192.0.2.1:7745"},
	})
	if agents != 3 || cores != 5 {
		t.Errorf("%d agents, %d cores, expected 3 and 5", agents, cores)
	}
	want := [][]string{
		{"ID", "ROLE", "CLASS", "CORES", "STATE", "VERSION"},
		{"01000000", "coordinator", "-", "-", "ready", "1"},
		{"02000000", "agent", "always-on", "2", "draining", "1"},
		{"03000000", "agent", "office", "none", "ready", "2"},
		{"04000000", "agent", "laptop", "3", "unreachable", "1"},
	}
	for i, row := range d.rows {
		if !reflect.DeepEqual(row[:d.narrow], want[i]) {
			t.Errorf("row %d is %q, expected %q", i, row[:d.narrow], want[i])
		}
	}
	if d.rows[1][d.narrow] != "192.0.2.1:7745" || len(d.names) != 4 || d.names[0] != id(1).String() {
		t.Errorf("wide has %q, names are %q", d.rows[1], d.names)
	}
}

// TestDescribeWithoutAnswers shows a job of which nobody answers, or nobody is left, as far as it is known.
func TestDescribeWithoutAnswers(t *testing.T) {
	silent := stewardView{short: "aabbccdd", Class: "laptop"}
	v := &describeView{
		jobStatus: jobStatus{Units: 5, State: stateUnknown, Submitter: jobs.KeyID{1}.String()},
		Manifest:  manifestView{Shards: maxShards + 2, Bundle: 1},
		Shards:    []shardView{{Shard: 0, Stewards: []stewardView{silent}}, {Shard: 1}},
		Workers:   []workerView{{ID: jobs.KeyID{2}.String()}},
		Failures:  []failureView{{Unit: 3, Status: "conflict", Attempts: 2}},
	}
	for name, test := range map[string]struct {
		got, want [][]string
	}{
		"shards": {v.shardRows()[1:], [][]string{
			{"0", "aabbccdd", "laptop", "no", "-", "-", "-"}, {"1", "none", "-", "-", "-", "-", "-"}, {"…", "64 shards more"},
		}},
		"workers":  {v.workerRows()[1:], [][]string{{"02000000", "-"}}},
		"failures": {v.failureRows()[1:], [][]string{{"3", "conflict", "-", "2", "-", ""}}},
		"units":    {v.jobRows()[6:], [][]string{{"units", "5"}}},
	} {
		if !reflect.DeepEqual(test.got, test.want) {
			t.Errorf("%s: %q, expected %q", name, test.got, test.want)
		}
	}
	if got := v.jobRows()[2][1]; got != "01000000" {
		t.Errorf("submitter %q", got)
	}
}
