package program

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/node"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Peer is what any peer says of itself, as status shows it.
type Peer struct {
	Running     bool        `json:"running"`
	ID          string      `json:"id"`
	Role        string      `json:"role"`
	Class       string      `json:"class,omitempty"`
	Address     string      `json:"address,omitempty"`
	Grid        string      `json:"grid"` // of the root certificate, SHA-256
	Started     time.Time   `json:"started,omitzero"`
	Build       string      `json:"build,omitempty"`
	Reachable   bool        `json:"reachable"`
	Unreachable string      `json:"unreachable_why,omitempty"`
	Draining    string      `json:"draining_why,omitempty"`
	Certificate Certificate `json:"certificate"`
	Clock       Clock       `json:"clock"`
	Disk        Disk        `json:"disk"`
	LiveJobs    uint32      `json:"live_jobs"`
	Members     []Member    `json:"members,omitempty"`
}

// Certificate says how long a peer's certificate lasts.
type Certificate struct {
	Ends   time.Time `json:"ends"`
	Renews time.Time `json:"renews"` // from then on
}

// Clock says how a peer's clock compares with others'.
type Clock struct {
	Ahead    float64 `json:"ahead_seconds"` // of the median
	Compared uint32  `json:"compared"`
	Off      bool    `json:"too_far_off"`
}

// Disk says what a peer keeps.
type Disk struct {
	Blobs uint64 `json:"blobs"`
	Bytes uint64 `json:"bytes"`
	Quota uint64 `json:"quota"`
}

// Member is a peer as another one sees it.
type Member struct {
	ID        string `json:"id"`
	Role      string `json:"role"`
	Class     string `json:"class,omitempty"`
	Address   string `json:"address"`
	Reachable bool   `json:"reachable"`
	Draining  bool   `json:"draining"`
	Cores     uint32 `json:"cores"`
}

// PeerOf reads a peer's own words.
func PeerOf(r *gridv1.StatusReply) Peer {
	self := memberOf(r.GetSelf())
	p := Peer{
		Running: true, ID: self.ID, Role: self.Role, Class: self.Class, Address: self.Address, Grid: hex.EncodeToString(r.GetRoot()),
		Started: Moment(r.GetStartedMs()), Build: r.GetBuild(),
		Reachable: self.Reachable, Unreachable: r.GetUnreachableWhy(), Draining: r.GetDrainingWhy(),
		Certificate: Certificate{Moment(r.GetCertificateEndsMs()), Moment(r.GetCertificateRenewsMs())},
		Clock:       Clock{float64(r.GetClock().GetAheadMs()) / 1000, r.GetClock().GetCompared(), r.GetClock().GetOff()},
		Disk:        Disk{r.GetDisk().GetBlobs(), r.GetDisk().GetBytes(), r.GetDisk().GetQuota()},
		LiveJobs:    r.GetLiveJobs(),
	}
	for _, m := range r.GetMembers() {
		p.Members = append(p.Members, memberOf(m))
	}
	return p
}

func memberOf(m *gridv1.Member) Member {
	return Member{
		ID: hex.EncodeToString(m.GetId()), Role: peer.Role(m.GetRole()).String(), Class: peer.Class(m.GetClass()).String(),
		Address: m.GetAddress(), Reachable: m.GetReachable(), Draining: m.GetDraining(), Cores: m.GetCores(),
	}
}

// Moment reads a time of the protocol.
func Moment(ms int64) time.Time { return time.UnixMilli(ms).Truncate(time.Second) }

// Head adds who the peer is and since when it runs.
func (p Peer) Head(s *Sheet, now time.Time) {
	s.Line(p.Role, "%s", strings.TrimSpace(p.ID[:min(8, len(p.ID))]+"  "+p.Class))
	if p.Address != "" {
		s.Line("address", "%s", p.Address)
	}
	if p.Running {
		s.Line("running since", "%s, for %s", p.Started.Local().Format(time.DateTime), For(now.Sub(p.Started)))
		s.Line("version", "%s, protocol %d", p.Build, peer.Version)
	}
	s.Line("grid", "%s", p.Grid[:min(12, len(p.Grid))])
}

// Foot adds what keeps the peer going.
func (p Peer) Foot(s *Sheet, now time.Time) {
	s.Line("pool", "%s", p.pool())
	if p.Role == peer.Agent.String() {
		s.Line("reachable", "%s", p.reach())
	}
	if p.Draining != "" {
		s.Line("draining", "%s", p.Draining)
	}
	quota := ""
	if p.Disk.Quota > 0 {
		quota = " of " + Bytes(p.Disk.Quota)
	}
	s.Line("blobs", "%d, %s%s", p.Disk.Blobs, Bytes(p.Disk.Bytes), quota)
	s.Line("certificate", "%s", p.Certificate.text(now))
	s.Line("clock", "%s", p.Clock.text())
}

// Peers adds the pool, a line each.
func (p Peer) Peers(s *Sheet) {
	var rows [][]string
	for _, m := range p.Members {
		who := m.Class
		if who == "" {
			who = m.Role
		}
		state := "reachable"
		switch {
		case m.Draining:
			state = "draining"
		case m.Role == peer.Coordinator.String():
			state = "-"
		case !m.Reachable:
			state = "not reachable"
		}
		if m.ID == p.ID {
			who += " (this)"
		}
		rows = append(rows, []string{m.ID[:min(8, len(m.ID))], who, m.Address, state, fmt.Sprint(m.Cores)})
	}
	s.Table([]string{"PEER", "CLASS", "ADDRESS", "STATE", "CORES"}, rows)
}

// pool counts the members.
func (p Peer) pool() string {
	byClass := map[string]int{}
	agents, reachable, draining := 0, 0, 0
	for _, m := range p.Members {
		byClass[m.Class]++
		if m.Role != peer.Agent.String() {
			continue
		}
		agents++
		if m.Reachable {
			reachable++
		}
		if m.Draining {
			draining++
		}
	}
	text := Count(agents, "agent")
	var classes []string
	for c := peer.AlwaysOn; c <= peer.Laptop; c++ {
		if n := byClass[c.String()]; n > 0 {
			classes = append(classes, fmt.Sprintf("%d %s", n, c))
		}
	}
	if len(classes) > 0 {
		text += " (" + strings.Join(classes, ", ") + ")"
	}
	text += fmt.Sprintf(", %d reachable", reachable)
	if draining > 0 {
		text += fmt.Sprintf(", %d draining", draining)
	}
	if len(p.Members) == agents {
		return text + "; no coordinator"
	}
	return text + "; " + Count(len(p.Members)-agents, "coordinator")
}

func (p Peer) reach() string {
	switch {
	case p.Reachable:
		return "yes"
	case p.Unreachable != "":
		return "no: " + p.Unreachable
	}
	return "no: not known yet"
}

func (c Certificate) text(now time.Time) string {
	day := func(t time.Time) string { return t.Local().Format(time.DateTime) }
	switch {
	case now.After(c.Ends):
		return "ended " + day(c.Ends) + "; it renews itself when the coordinator can be reached"
	case now.After(c.Renews):
		return "ends " + day(c.Ends) + "; not renewed yet, tried since " + day(c.Renews)
	}
	return "ends " + day(c.Ends) + ", renews itself from " + day(c.Renews) + " on"
}

func (c Clock) text() string {
	if c.Compared == 0 {
		return "not compared yet"
	}
	side, seconds := "ahead of", c.Ahead
	if seconds < 0 {
		side, seconds = "behind", -seconds
	}
	peers := "the median of " + Count(c.Compared, "peer")
	text := fmt.Sprintf("%s %s %s", For(time.Duration(seconds*float64(time.Second))), side, peers)
	switch {
	case c.Off:
		return "off: " + text + "; nothing is expired or deleted here until it is right"
	case seconds < 1:
		return "in step with " + peers
	}
	return text
}

// For returns a duration for people: its two largest units.
func For(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%02dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// StatusOf is a status command: it asks the peer that runs on a state folder.
type StatusOf struct {
	State, Format string
	// Show makes of what the peer says a value for scripts and a sheet for people.
	Show func(r *gridv1.StatusReply, wide bool) (any, *Sheet)
	// Stopped is the error where nothing runs.
	Stopped error
}

// Run asks and shows. Where nothing runs it shows whose folder it is, and the program ends with the exit code for
// that.
func (o StatusOf) Run(cmd *cobra.Command) error {
	reply, err := node.AskStatus(cmd.Context(), o.State)
	if errors.Is(err, node.ErrNotRunning) {
		return o.stopped(cmd.OutOrStdout())
	}
	if err != nil {
		return err
	}
	value, sheet := o.Show(reply, o.Format == FormatWide)
	return Show(cmd.OutOrStdout(), o.Format, value, sheet)
}

func (o StatusOf) stopped(to io.Writer) error {
	id, err := node.WhoIs(o.State)
	if err != nil {
		return err
	}
	c := id.Caller()
	p := Peer{
		ID: c.ID.String(), Role: c.Role.String(), Class: c.Class.String(), Grid: jobs.DigestOf(id.Root).String(),
		Certificate: Certificate{c.NotAfter, id.RenewAt()},
	}
	s := &Sheet{}
	p.Head(s, time.Now())
	s.Line("state", "not running")
	s.Line("certificate", "%s", p.Certificate.text(time.Now()))
	if err := Show(to, o.Format, p, s); err != nil {
		return err
	}
	return NotRunning(o.Stopped)
}

// OwnerOr names a submitter: by its owner, or by its ID where the certificate names none.
func OwnerOr(owner, id string) string {
	if owner != "" {
		return owner
	}
	return id[:min(8, len(id))]
}

// ShortJob is what people see of a job's ID.
func ShortJob(id string) string { return id[:min(12, len(id))] }
