package main

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the grid as its coordinator sees it, and its problems",
		Long: "status asks the coordinator that runs on the state folder: agents, live jobs and how far they are handed over,\n" +
			"submitters, disk, certificates, and problems. It needs the folder, so run it as the coordinator's own user.\n" +
			"Exit codes: 0 it runs, 3 it does not, 1 error, 2 wrong command line.",
		Example: "  gridcoordinator status\n  gridcoordinator status -o wide   # peers too",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "coordinator"), program.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		err := program.StatusOf{
			State: *state, Format: *format, Show: func(r *gridv1.StatusReply, wide bool) (any, *program.Sheet) {
				s := statusOf(r)
				return s, s.sheet(time.Now(), wide)
			},
			Stopped: jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the coordinator does not run"),
				"start it with: gridcoordinator run --state %s; what was submitted goes on without it", *state),
		}.Run(cmd)
		if jobs.KindOf(err) == jobs.NotFound {
			return jobs.WithHint(err, "name the coordinator's folder with --state, or make a grid first: gridcoordinator init")
		}
		return err
	}
	return cmd
}

// status is what a coordinator says of its grid, for people and scripts.
type status struct {
	program.Peer
	Metrics    string      `json:"metrics,omitempty"`
	Page       string      `json:"page,omitempty"`
	IssuerEnds time.Time   `json:"issuer_ends"`
	Jobs       []job       `json:"jobs"`
	Submitters []submitter `json:"submitters"`
	Problems   []string    `json:"problems"`
}

type job struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Submitter string    `json:"submitter"`
	Owner     string    `json:"owner,omitempty"`
	State     string    `json:"state"`
	Units     uint64    `json:"units"`
	Accepted  uint64    `json:"accepted"`
	Failed    uint64    `json:"failed"`
	Seeded    uint32    `json:"seeded_to"`
	Blobs     uint32    `json:"blobs_waiting"`
	Why       string    `json:"waits_because,omitempty"`
	Expires   time.Time `json:"expires"`
}

type submitter struct {
	ID       string `json:"id"`
	Owner    string `json:"owner,omitempty"`
	LiveJobs uint32 `json:"live_jobs"`
}

func statusOf(r *gridv1.StatusReply) *status {
	c := r.GetCoordinator()
	s := &status{
		Peer: program.PeerOf(r), Metrics: c.GetMetrics(), Page: c.GetPage(), IssuerEnds: program.Moment(c.GetIssuerEndsMs()),
		Jobs: []job{}, Submitters: []submitter{}, Problems: append([]string{}, c.GetProblems()...),
	}
	for _, j := range c.GetJobs() {
		s.Jobs = append(s.Jobs, job{
			ID: hex.EncodeToString(j.GetJob()), Name: j.GetName(), Submitter: hex.EncodeToString(j.GetSubmitter()), Owner: j.GetOwner(),
			State: j.GetState(), Units: j.GetUnits(), Accepted: j.GetAccepted(), Failed: j.GetFailed(),
			Seeded: j.GetSeeded(), Blobs: j.GetBlobsWaiting(), Why: j.GetWhy(), Expires: program.Moment(j.GetExpiresMs()),
		})
	}
	for _, o := range c.GetOwners() {
		s.Submitters = append(s.Submitters, submitter{ID: hex.EncodeToString(o.GetSubmitter()), Owner: o.GetOwner(), LiveJobs: o.GetLiveJobs()})
	}
	return s
}

// sheet is the status for people.
func (s *status) sheet(now time.Time, wide bool) *program.Sheet {
	out := &program.Sheet{}
	s.Head(out, now)
	s.Foot(out, now)
	out.Line("issuing key", "ends %s", s.IssuerEnds.Local().Format(time.DateOnly))
	out.Line("cores offered", "%d", s.cores())
	metrics := "none"
	if s.Metrics != "" {
		metrics = "http://" + s.Metrics + "/metrics"
	}
	out.Line("metrics", "%s", metrics)
	out.Line("page", "%s", cmp.Or(s.Page, "none"))
	out.Line("live jobs", "%d of %s", s.LiveJobs, program.Count(len(s.Submitters), "submitter"))
	var rows [][]string
	for _, j := range s.Jobs {
		rows = append(rows, []string{
			j.Name, program.OwnerOr(j.Owner, j.Submitter), j.State, j.done(), fmt.Sprint(j.Failed),
			j.handedOver(), program.ShortJob(j.ID),
		})
	}
	if more := int(s.LiveJobs) - len(s.Jobs); more > 0 {
		rows = append(rows, []string{fmt.Sprintf("… and %d more", more)})
	}
	out.Table([]string{"JOB", "FOR", "STATE", "DONE", "FAILED", "HANDED OVER", "ID"}, rows)
	out.List("problems", s.Problems)
	if wide {
		s.Peers(out)
	}
	return out
}

// cores is what all agents together offer.
func (s *status) cores() uint32 {
	sum := uint32(0)
	for _, m := range s.Members {
		sum += m.Cores
	}
	return sum
}

// done is how many units are accepted, as gridctl shows it: what a cancelled job had is counted no more.
func (j job) done() string {
	if j.State == "cancelled" || j.State == "unknown" {
		return fmt.Sprintf("-/%d", j.Units)
	}
	return fmt.Sprintf("%d/%d", j.Accepted, j.Units)
}

func (j job) handedOver() string {
	switch {
	case j.Seeded > 0:
		return "to " + program.Count(j.Seeded, "agent")
	case j.State == "cancelled" || j.State == "sealed":
		return "-"
	case j.Blobs > 0:
		return "not yet, " + program.Count(j.Blobs, "blob") + " to place"
	}
	return "not yet"
}
