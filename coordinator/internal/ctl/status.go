package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newStatusCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status [JOB]",
		Short:   "Show your jobs, or one of them",
		Long:    "status asks the stewards of your jobs how far they are. A job is named by six or more digits of its ID, or\nby its name, which means the newest of that name.",
		Example: "  gridctl status tour",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return jobs.WithHint(jobs.Errorf(jobs.Invalid, "gridctl status takes one job, not %d", len(args)), "gridctl status --help has an example")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), args) },
	}
	a.outputFlag(cmd)
	return cmd
}

// jobStatus is what the stewards say of a job, all shards together.
type jobStatus struct {
	ID       string    `json:"id"`
	Name     string    `json:"name"`
	State    string    `json:"state"` // running, done, incomplete, unknown
	Units    uint64    `json:"units"`
	Open     uint64    `json:"open"`
	Accepted uint64    `json:"accepted"`
	Failed   uint64    `json:"failed"`
	Conflict uint64    `json:"conflict"`
	Differs  uint64    `json:"differs"`
	Lent     uint64    `json:"lent"`
	Agents   int       `json:"agents"`
	CPU      float64   `json:"useful_cpu_seconds"`
	Keepers  int       `json:"stewards"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`

	id     jobs.JobID
	agreed bool // that nothing is open: by all shards' stewards, see summary
}

func (a *app) status(ctx context.Context, args []string) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	var list []records.Job
	if len(args) == 1 {
		job, err := g.findJob(ctx, args[0])
		if err != nil {
			return err
		}
		list = []records.Job{job}
	} else {
		if err := g.loadJobs(ctx); err != nil {
			return err
		}
		list = g.store.Jobs(false)
	}
	all := make([]jobStatus, 0, len(list))
	for _, job := range list {
		all = append(all, g.jobStatus(ctx, job))
	}
	if len(list) == 0 {
		a.say("you have no live jobs")
		a.hint("gridctl submit job.yaml")
	}
	d := statusData(all)
	if len(args) == 1 {
		a.note(all[0])
		d.value = all[0]
	}
	return a.show(d)
}

// statusData is a table of jobs.
func statusData(all []jobStatus) data {
	d := data{value: all, narrow: 8, rows: [][]string{{
		"ID", "NAME", "STATE", "DONE", "FAILED", "AGENTS", "CPU", "KEPT UNTIL",
		"OPEN", "RUNNING", "CONFLICT", "DIFFERS", "STEWARDS", "CREATED",
	}}}
	for _, s := range all {
		d.rows = append(d.rows, s.row())
		d.names = append(d.names, s.ID)
	}
	return d
}

func (s *jobStatus) row() []string {
	return []string{
		s.id.Short(), s.Name, s.State, fmt.Sprintf("%d/%d", s.Accepted, s.Units), fmt.Sprint(s.Failed), fmt.Sprint(s.Agents),
		cpuText(s.CPU), day(s.Expires),
		fmt.Sprint(s.Open), fmt.Sprint(s.Lent), fmt.Sprint(s.Conflict), fmt.Sprint(s.Differs), fmt.Sprint(s.Keepers), minute(s.Created),
	}
}

// cpuText returns CPU time for people.
func cpuText(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// note says what a person should know and a table does not show.
func (a *app) note(s jobStatus) {
	if s.State == "unknown" {
		a.say("no steward of this job answers: its state is not known now, and not lost")
	}
	if s.Keepers == 1 {
		a.say("results on one machine only")
	}
	if s.Differs > 0 {
		a.say("%s gave different outcomes when run twice: the first counts", count(s.Differs, "unit"))
	}
	if s.Failed > 0 {
		a.say("%s failed", count(s.Failed, "unit"))
		a.hint(fmt.Sprintf("gridctl results %s --partial", s.id.Short()))
	}
}

// jobStatus asks two stewards of each shard and believes, of what they know, the one who knows more.
func (g *grid) jobStatus(ctx context.Context, job records.Job) jobStatus {
	m := job.Manifest
	s := jobStatus{id: job.ID, ID: job.ID.String(), Name: m.Name, Units: m.Units, Created: m.Created, Expires: m.Expires, State: "unknown"}
	agents := map[string]bool{}
	answered, agreed := uint32(0), uint32(0)
	for n := range m.Shards() {
		best, done := g.summary(ctx, jobs.ShardID{Job: job.ID, Shard: n})
		if best == nil {
			continue
		}
		if answered++; done {
			agreed++
		}
		s.Open += best.GetOpen()
		s.Accepted += best.GetAccepted() + best.GetSealed()
		s.Failed += best.GetFailed()
		s.Conflict += best.GetConflict()
		s.Differs += best.GetDiffers()
		s.Lent += best.GetLent()
		s.CPU += float64(best.GetUsefulCpuUs()) / 1e6
		s.Keepers = int(best.GetStewards())
		if best.GetOpen() == 0 {
			continue // who holds leases has not been told yet
		}
		for _, id := range best.GetLessees() {
			agents[string(id)] = true
		}
	}
	s.Agents, s.agreed = len(agents), agreed == m.Shards()
	if answered == m.Shards() {
		s.State = stateOf(s)
	}
	return s
}

func stateOf(s jobStatus) string {
	switch {
	case s.Open > 0:
		return "running"
	case s.Accepted == s.Units:
		return "done"
	default:
		return "incomplete"
	}
}

func (g *grid) summary(ctx context.Context, shard jobs.ShardID) (best *gridv1.SummaryReply, done bool) {
	stewards := peer.Stewards(shard, g.members)
	return unite(stewards, func(m peer.Member) (*gridv1.SummaryReply, error) { return g.askSummary(ctx, shard, m) })
}

// unite asks two stewards, and the others if one of the two says that nothing is open. It returns what the one
// says who knows more, and whether two of them, or the only one, say that nothing is open: one alone may be
// wrong.
func unite(stewards []peer.Member, ask func(peer.Member) (*gridv1.SummaryReply, error)) (best *gridv1.SummaryReply, done bool) {
	answers, closed, enough := 0, 0, min(2, len(stewards))
	for _, m := range stewards {
		if answers >= enough && (closed == 0 || closed >= enough) {
			break
		}
		reply, err := ask(m)
		if err != nil {
			continue
		}
		if answers++; reply.GetOpen() == 0 {
			closed++
		}
		switch {
		case best == nil:
			best = reply
		case reply.GetOpen() < best.GetOpen():
			reply.Lent, reply.Lessees = best.GetLent(), best.GetLessees() // the first one lends
			best = reply
		}
	}
	return best, best != nil && closed >= enough
}

func (g *grid) askSummary(ctx context.Context, shard jobs.ShardID, m peer.Member) (*gridv1.SummaryReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := g.dialer.Conn(m.Address, m.ID)
	if err != nil {
		return nil, err
	}
	return gridv1.NewStewardClient(conn).Summary(ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(shard)})
}
