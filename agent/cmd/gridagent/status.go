package main

import (
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent on this machine does, and why it is idle",
		Long: "status asks the agent that runs on the state folder what it does: units, shards whose ledger it keeps, blobs,\n" +
			"peers, certificate, clock, and why slots are free. It needs the folder, so run it as the agent's own user.\n" +
			"Exit codes: 0 it runs, 3 it does not, 1 error, 2 wrong command line.",
		Example: "  gridagent status\n  gridagent status -o wide   # peers too",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "agent"), program.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if _, err := node.ClassOf(*state); err != nil {
			return err
		}
		return program.StatusOf{
			State: *state, Format: *format, Show: func(r *gridv1.StatusReply, wide bool) (any, *program.Sheet) {
				s := statusOf(r)
				return s, s.sheet(time.Now(), wide)
			},
			Stopped: jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the agent does not run"), "start it with: gridagent run --state %s", *state),
		}.Run(cmd)
	}
	return cmd
}

// status is what an agent says of itself, for people and scripts.
type status struct {
	program.Peer
	Slots        uint32        `json:"slots"`
	Units        []unit        `json:"units"`
	Queued       uint64        `json:"queued_units"`
	Held         uint64        `json:"held_bundles"`
	Unkept       uint64        `json:"unkept_bytes"`
	Reports      uint32        `json:"reports_waiting"`
	Idle         []string      `json:"idle"`
	Stewardships []stewardship `json:"stewardships"`
	More         bool          `json:"more_stewardships,omitempty"`
}

type unit struct {
	Job       string    `json:"job"`
	Name      string    `json:"name"`
	Unit      uint64    `json:"unit"`
	Submitter string    `json:"submitter"`
	Owner     string    `json:"owner,omitempty"`
	Since     time.Time `json:"since"`

	Done    *float64   `json:"done"`  // what the program says, from 0 to 1; null: nothing
	Saved   *time.Time `json:"saved"` // its last checkpoint; null: none in this run
	Bytes   uint64     `json:"saved_bytes"`
	Resumed bool       `json:"resumed"` // it went on from a checkpoint
}

type stewardship struct {
	Job     string `json:"job"`
	Name    string `json:"name"`
	Shard   uint32 `json:"shard"`
	Rank    uint32 `json:"rank"`
	Open    uint64 `json:"open_units"`
	Lent    uint64 `json:"lent_bundles"`
	Lessees uint32 `json:"lessees"`
}

func statusOf(r *gridv1.StatusReply) *status {
	a := r.GetAgent()
	s := &status{
		Peer: program.PeerOf(r), Slots: a.GetSlots(), Queued: a.GetQueued(), Held: a.GetHeld(), Unkept: a.GetUnkeptBytes(),
		Reports: a.GetReportsWaiting(), Idle: a.GetIdle(), More: a.GetMoreStewardships(),
		Units: []unit{}, Stewardships: []stewardship{},
	}
	for _, u := range a.GetRunning() {
		one := unit{
			Job: hex.EncodeToString(u.GetJob()), Name: u.GetName(), Unit: u.GetUnit(),
			Submitter: hex.EncodeToString(u.GetSubmitter()), Owner: u.GetOwner(), Since: program.Moment(u.GetSinceMs()),
			Done: u.Done, Bytes: u.GetSavedBytes(), Resumed: u.GetResumed(),
		}
		if u.GetSavedMs() > 0 {
			at := program.Moment(u.GetSavedMs())
			one.Saved = &at
		}
		s.Units = append(s.Units, one)
	}
	for _, st := range a.GetStewardships() {
		s.Stewardships = append(s.Stewardships, stewardship{
			Job: hex.EncodeToString(st.GetJob()), Name: st.GetName(), Shard: st.GetShard(), Rank: st.GetRank(),
			Open: st.GetOpen(), Lent: st.GetLent(), Lessees: st.GetLessees(),
		})
	}
	return s
}

// sheet is the status for people.
func (s *status) sheet(now time.Time, wide bool) *program.Sheet {
	out := &program.Sheet{}
	s.Head(out, now)
	out.Line("state", "%s", s.state())
	s.Foot(out, now)
	var units, shards [][]string
	for _, u := range s.Units {
		units = append(units, []string{
			u.Name, fmt.Sprint(u.Unit), program.OwnerOr(u.Owner, u.Submitter), program.For(now.Sub(u.Since)), u.done(), u.saved(now), program.ShortJob(u.Job),
		})
	}
	out.Table([]string{"RUNS", "UNIT", "FOR", "SINCE", "DONE", "SAVED", "JOB"}, units)
	for _, st := range s.Stewardships {
		shards = append(shards, []string{
			st.Name, fmt.Sprint(st.Shard), fmt.Sprint(st.Rank), fmt.Sprint(st.Open), fmt.Sprint(st.Lent), fmt.Sprint(st.Lessees), program.ShortJob(st.Job),
		})
	}
	if s.More {
		shards = append(shards, []string{"… and more"})
	}
	out.Table([]string{"STEWARDS", "SHARD", "RANK", "OPEN UNITS", "LENT BUNDLES", "TO AGENTS", "JOB"}, shards)
	out.List(s.idleHeading(), s.Idle)
	if wide {
		s.Peers(out)
	}
	return out
}

// done is how far the program says it is.
func (u *unit) done() string {
	if u.Done == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", *u.Done*100)
}

// saved says of the last checkpoint how old and how large it is.
func (u *unit) saved(now time.Time) string {
	switch {
	case u.Saved != nil:
		return fmt.Sprintf("%s ago, %s", program.For(now.Sub(*u.Saved)), program.Bytes(u.Bytes))
	case u.Resumed:
		return "elsewhere"
	}
	return "-"
}

// state says in one line what the agent does.
func (s *status) state() string {
	var text string
	switch {
	case s.Slots == 0:
		text = "runs no units"
	case len(s.Units) == 0:
		text = fmt.Sprintf("idle, %s", program.Count(s.Slots, "slot"))
	case uint32(len(s.Units)) == s.Slots:
		text = fmt.Sprintf("runs %s", program.Count(len(s.Units), "unit"))
	default:
		text = fmt.Sprintf("runs %s in %s", program.Count(len(s.Units), "unit"), program.Count(s.Slots, "slot"))
	}
	if s.Queued > 0 {
		text += fmt.Sprintf("; %s for a slot", waits(s.Queued, "unit"))
	}
	if s.Reports > 0 {
		text += fmt.Sprintf("; %s for stewards", waits(uint64(s.Reports), "report"))
	}
	return text
}

// waits returns such as "1 unit waits" and "2 units wait".
func waits(n uint64, noun string) string {
	if n == 1 {
		return program.Count(n, noun) + " waits"
	}
	return program.Count(n, noun) + " wait"
}

func (s *status) idleHeading() string {
	free := int(s.Slots) - len(s.Units)
	switch {
	case s.Slots == 0:
		return "runs nothing because"
	case len(s.Units) == 0:
		return "idle because"
	case free == 1:
		return "1 slot is free because"
	default:
		return fmt.Sprintf("%d slots are free because", free)
	}
}
