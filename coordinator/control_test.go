package coordinator

import (
	"errors"
	"slices"
	"testing"
	"time"

	"idlegrid/coordinator/internal/throughput"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestProblems(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		is   func(*health)
		want []string
	}{
		"all is well": {func(*health) {}, nil},
		"no agents":   {func(h *health) { h.agents, h.reachable = 0, 0 }, []string{"no agent can be reached: jobs wait until one can"}},
		"one agent":   {func(h *health) { h.reachable = 1 }, []string{"only one agent can be reached: results are on one machine only"}},
		"a firewall": {
			func(h *health) { h.unreachable = 2 },
			[]string{"of 3 agents 2 cannot be dialled by others: they keep nothing; open their port, or set --advertise"},
		},
		"draining":           {func(h *health) { h.draining = 1 }, []string{"of 3 agents 1 are draining: they keep nothing new"}},
		"issuing key, soon":  {func(h *health) { h.issuer = now.Add(89 * 24 * time.Hour) }, []string{"the issuing certificate ends on 2027-02-22: gridcoordinator reissue"}},
		"issuing key, ended": {func(h *health) { h.issuer = now.Add(-time.Hour) }, []string{"the issuing certificate ended on 2026-11-25: gridcoordinator reissue"}},
		"clock":              {func(h *health) { h.clock.Off = true }, []string{"this machine's clock is off: nothing is expired or deleted here until it is right"}},
		"disk":               {func(h *health) { h.disk = errors.New("no space left") }, []string{"this coordinator cannot write to its state folder: no space left"}},
		"quota":              {func(h *health) { h.used.Bytes = 95 << 20 }, []string{"blobs take 95 MiB of the 100 MiB that max_disk_mib allows"}},
		"a job that waits": {
			func(h *health) { h.jobs = []*gridv1.SeededJob{{Name: "j", State: "unknown", Why: "no holders"}} },
			[]string{"job j cannot be handed over: no holders"},
		},
		"a job on its way": {func(h *health) { h.jobs = []*gridv1.SeededJob{{Name: "j", State: "unknown"}} }, nil},
		"a job that ended": {func(h *health) { h.jobs = []*gridv1.SeededJob{{Name: "j", State: "cancelled", Why: "it has ended"}} }, nil},
		"silent stewards": {
			func(h *health) { h.jobs = []*gridv1.SeededJob{{Name: "j", State: "unknown", Seeded: 3}} },
			[]string{"job j: not all of its stewards have answered"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := health{
				now: now, agents: 3, reachable: 3, issuer: now.Add(1000 * 24 * time.Hour), clock: &gridv1.ClockStatus{},
				used: &gridv1.DiskStatus{Bytes: 1, Quota: 100 << 20},
			}
			test.is(&h)
			if got := problems(h); !slices.Equal(got, test.want) {
				t.Errorf("got %q, expected %q", got, test.want)
			}
		})
	}
}

func TestStateOf(t *testing.T) {
	for want, is := range map[string]struct {
		count             throughput.Count
		cancelled, sealed bool
	}{
		"unknown":    {throughput.Count{Accepted: 10}, false, false},
		"running":    {throughput.Count{Open: 1, Accepted: 9, Known: true}, false, false},
		"done":       {throughput.Count{Accepted: 10, Known: true}, false, false},
		"incomplete": {throughput.Count{Accepted: 9, Failed: 1, Known: true}, false, false},
		"cancelled":  {throughput.Count{Open: 1, Known: true}, true, false},
		"sealed":     {throughput.Count{}, false, true},
	} {
		if got := stateOf(10, is.count, is.cancelled, is.sealed); got != want {
			t.Errorf("got %s, expected %s", got, want)
		}
	}
}
