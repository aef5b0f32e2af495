package ctl

import (
	"fmt"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// TestAudience: a cancel goes to the stewards of every shard, to three agents at least where there are as many, and
// to the coordinator; the others come after them, each once.
func TestAudience(t *testing.T) {
	job := records.Job{ID: jobs.JobID{1}, Manifest: &manifest.Manifest{Units: 3 * manifest.ShardBundles, Bundle: 1}}
	for _, c := range []struct{ agents, unreachable, first, others int }{
		{agents: 0, first: 0},
		{agents: 1, first: 1},
		{agents: 1, unreachable: 4, first: 3, others: 2},
		{agents: 3, unreachable: 1, first: 3, others: 1},
		{agents: 200, first: 9, others: mostOthers},
	} {
		g := &grid{members: []peer.Member{{ID: jobs.KeyID{255}, Role: peer.Coordinator}}}
		for n := range c.agents + c.unreachable {
			g.members = append(g.members, peer.Member{
				ID: jobs.KeyID(jobs.DigestOf(fmt.Append(nil, n))), Role: peer.Agent, Class: peer.Office, Reachable: n < c.agents,
			})
		}
		first, others := g.audience(job)
		told := map[jobs.KeyID]bool{}
		for _, m := range first {
			told[m.ID] = true
		}
		for n := range job.Manifest.Shards() {
			for _, m := range peer.Stewards(jobs.ShardID{Job: job.ID, Shard: n}, g.members) {
				if !told[m.ID] {
					t.Errorf("%+v: a steward of shard %d is not told", c, n)
				}
			}
		}
		if !told[jobs.KeyID{255}] || len(told) != len(first) {
			t.Errorf("%+v: the coordinator is told: %v; %d peers, %d of them once", c, told[jobs.KeyID{255}], len(first), len(told))
		}
		if len(first)-1 != c.first || len(others) != c.others {
			t.Errorf("%+v: %d agents first and %d others", c, len(first)-1, len(others))
		}
	}
}
