package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func newStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the agent on this machine does, and why it is idle",
		Long: "status asks the agent that runs on the state folder what it does: why work may run or not, how fast it stops,\n" +
			"the harvest, and for who may read the folder also shards whose ledger it keeps, blobs, peers, certificate,\n" +
			"clock, and why slots are free.\n" +
			"Exit codes: 0 it runs, 3 it does not, 1 error, 2 wrong command line.",
		Example: "  gridagent status\n  gridagent status -o wide   # all rules, times and peers\n  gridagent status --watch",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "agent"), program.OutputFlag(cmd)
	watch := cmd.Flags().BoolP("watch", "w", false, "show it anew every two seconds, until Ctrl-C")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *watch {
			return watchStatus(cmd, *state, *format)
		}
		return showStatus(cmd, *state, *format)
	}
	return cmd
}

// watchEvery is how often status --watch asks.
const watchEvery = 2 * time.Second

func watchStatus(cmd *cobra.Command, state, format string) error {
	screen, isFile := cmd.OutOrStdout().(*os.File)
	onScreen := isFile && term.IsTerminal(int(screen.Fd()))
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if onScreen {
			fmt.Fprint(screen, "\x1b[H\x1b[2J")
		}
		if err := showStatus(cmd, state, format); err != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-ticker.C:
		}
		if !onScreen && format != program.FormatJSON {
			fmt.Fprintln(cmd.OutOrStdout(), map[string]string{program.FormatYAML: "---"}[format])
		}
	}
}

// showStatus shows all of it to who may read the state folder, and to others what the owner's socket tells.
func showStatus(cmd *cobra.Command, state, format string) error {
	var seen *look
	unseen := askOwner(cmd.Context(), state, func(ctx context.Context, c gridv1.OwnerClient) error {
		r, err := c.Look(ctx, &gridv1.LookRequest{})
		seen = lookOf(r)
		return err
	})
	if unseen != nil {
		seen = nil
	}
	_, err := node.ClassOf(state)
	switch {
	case jobs.KindOf(err) == jobs.Denied && err != nil && unseen != nil:
		return unseen
	case jobs.KindOf(err) == jobs.Denied && err != nil:
		now := time.Now()
		return program.Show(cmd.OutOrStdout(), format, map[string]*look{"owner": seen}, seen.sheet(now, format == program.FormatWide))
	case err != nil:
		return err
	}
	return program.StatusOf{
		State: state, Format: format, Show: func(r *gridv1.StatusReply, wide bool) (any, *program.Sheet) {
			s := statusOf(r)
			s.ForOwner = seen
			return s, s.sheet(time.Now(), wide)
		},
		Stopped: jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the agent does not run"), "start it with: gridagent run --state %s", state),
	}.Run(cmd)
}

// status is what an agent says of itself, for people and scripts.
type status struct {
	ForOwner *look `json:"owner,omitempty"` // what the people at the machine see; absent: it has no socket for them
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
	Frozen  bool       `json:"frozen"`  // it stands still, and may go on later
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
		Units: unitsOf(a.GetRunning()), Stewardships: []stewardship{},
	}
	for _, st := range a.GetStewardships() {
		s.Stewardships = append(s.Stewardships, stewardship{
			Job: hex.EncodeToString(st.GetJob()), Name: st.GetName(), Shard: st.GetShard(), Rank: st.GetRank(),
			Open: st.GetOpen(), Lent: st.GetLent(), Lessees: st.GetLessees(),
		})
	}
	return s
}

var unitHeader = []string{"WORK", "UNIT", "FOR", "SINCE", "NOW", "DONE", "SAVED", "JOB"}

func unitRows(units []unit, now time.Time) (rows [][]string) {
	for _, u := range units {
		rows = append(rows, []string{
			u.Name, fmt.Sprint(u.Unit), program.OwnerOr(u.Owner, u.Submitter), program.For(now.Sub(u.Since)), u.doing(), u.done(), u.saved(now), program.ShortJob(u.Job),
		})
	}
	return rows
}

// sheet is the status for people.
func (s *status) sheet(now time.Time, wide bool) *program.Sheet {
	out := &program.Sheet{}
	if s.ForOwner != nil {
		s.ForOwner.head(out, now)
	}
	s.Head(out, now)
	out.Line("state", "%s", s.state())
	s.Foot(out, now)
	var shards [][]string
	out.Table(unitHeader, unitRows(s.Units, now))
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
	if wide && s.ForOwner != nil {
		s.ForOwner.tables(out)
	}
	if wide {
		s.Peers(out)
	}
	return out
}

// doing says whether it goes on.
func (u *unit) doing() string {
	if u.Frozen {
		return "stands still"
	}
	return "runs"
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
	frozen := s.frozen()
	switch running := len(s.Units) - frozen; {
	case s.Slots == 0:
		text = "runs no units"
	case len(s.Units) == 0:
		text = fmt.Sprintf("idle, %s", program.Count(s.Slots, "slot"))
	case uint32(len(s.Units)) == s.Slots || running == 0:
		text = fmt.Sprintf("runs %s", program.Count(running, "unit"))
	default:
		text = fmt.Sprintf("runs %s in %s", program.Count(running, "unit"), program.Count(s.Slots, "slot"))
	}
	switch {
	case frozen == 1:
		text += "; 1 stands still"
	case frozen > 1:
		text += fmt.Sprintf("; %d stand still", frozen)
	}
	if s.Queued > 0 {
		text += fmt.Sprintf("; %s for a slot", waits(s.Queued, "unit"))
	}
	if s.Reports > 0 {
		text += fmt.Sprintf("; %s for stewards", waits(uint64(s.Reports), "report"))
	}
	return text
}

// frozen is how many units stand still.
func (s *status) frozen() (n int) {
	for _, u := range s.Units {
		if u.Frozen {
			n++
		}
	}
	return n
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
	case free <= 0:
		return "no more runs because"
	case free == 1:
		return "1 slot is free because"
	default:
		return fmt.Sprintf("%d slots are free because", free)
	}
}
