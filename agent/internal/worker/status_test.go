package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func oneSteward() []peer.Member {
	return []peer.Member{{ID: jobs.AgentID{3}, Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true}}
}

// TestWhyIdle: each reason for which slots are free.
func TestWhyIdle(t *testing.T) {
	for name, test := range map[string]struct {
		is   func(*desk)
		want []string
	}{
		"no job":       {func(d *desk) { clear(d.shards) }, []string{"no live job is known here"}},
		"nothing open": {func(*desk) {}, []string{"no open units in any live job"}},
		"stopping":     {func(d *desk) { d.stopping = true }, []string{"the agent is stopping"}},
		"disk full": {
			func(d *desk) { d.o.Disk = func() error { return errors.New("no space left") } },
			[]string{"cannot write to the state folder: no space left"},
		},
		"quota full": {
			func(d *desk) { d.unfit = true },
			[]string{"the blobs kept here leave no room for outcomes"},
		},
		"leaving":        {func(d *desk) { d.leaving = true }, []string{"the agent leaves the grid"}},
		"results wait":   {func(d *desk) { d.backlog = maxBacklog }, []string{"256 MiB of results wait for agents that keep them"}},
		"never answered": {func(d *desk) { d.s.answered = time.Time{} }, []string{"asking for units of job j"}},
		"lent elsewhere": {
			func(d *desk) { d.answered(d.s, &gridv1.ExchangeReply{Open: 7}, true, d.now) },
			[]string{"the steward of job j lends none of its 7 open units now"},
		},
		"a fault": {
			func(d *desk) { d.fault(d.s.id.Job, "cannot run a unit", errors.New("no room\nat all"), d.now) },
			[]string{"job j rests here for 30s after a fault: cannot run a unit: no room"},
		},
		"nobody answers": {
			func(d *desk) { d.unanswered(context.Background(), d.s, errors.New("no route \xff"), d.now) },
			[]string{"no steward of job j answers: no route ?"},
		},
		"no steward": {
			func(d *desk) { d.o.Members = func() []peer.Member { return nil } },
			[]string{"no agent here can be a steward"},
		},
		"program comes": {
			func(d *desk) { d.lend(0, 2); d.programs[d.s.id.Job] = &program{loading: true} },
			[]string{"the program of job j is being fetched and compiled"},
		},
		"answer too old": {
			func(d *desk) { d.lend(0, 2); d.now = d.now.Add(d.o.Lease.TTL + 1) },
			[]string{"no steward of job j answered lately"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(20, 1)
			d.s.job.Manifest.Name = "j"
			d.o.Members = oneSteward
			test.is(d)
			if got := d.status(d.now).Idle; !slices.Equal(got, test.want) {
				t.Errorf("got %q, expected %q", got, test.want)
			}
		})
	}
}

// TestStatusIsBounded holds that nobody waits for a worker that does not run.
func TestStatusIsBounded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := newDesk(1, 1).Status(ctx); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("got %v", err)
	}
}
