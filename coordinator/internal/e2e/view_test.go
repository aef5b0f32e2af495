package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// login returns the submitter's identity.
func (g *grid) login() (*identity.Identity, error) {
	dir, err := os.OpenRoot(g.path(g.submitter))
	if err != nil {
		return nil, err
	}
	defer dir.Close() // Nothing was written.
	return identity.Load(dir)
}

// dialer makes connections as somebody. The caller closes it.
func dialer(id *identity.Identity) *rpc.Dialer {
	return rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return id }, Root: id.Root})
}

// call gives f a connection to a peer, as the submitter.
func (g *grid) call(address string, f func(context.Context, grpc.ClientConnInterface) error) error {
	id, err := g.login()
	if err != nil {
		return err
	}
	dialer := dialer(id)
	defer dialer.Close()
	conn, err := dialer.Conn(address, jobs.KeyID{})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(g.ctx, 5*time.Second)
	defer cancel()
	return f(ctx, conn)
}

// members returns the pool as a peer sees it, or nothing when it does not answer.
func (g *grid) members(of *daemon) (members []peer.Member) {
	err := g.call(of.addresses().Grid, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
		if err != nil {
			return err
		}
		members, err = node.MembersFromProto(reply)
		return err
	})
	if err != nil {
		return nil
	}
	return members
}

// idOf returns the ID of an agent that runs.
func (g *grid) idOf(a *daemon) jobs.AgentID {
	g.t.Helper()
	id, err := jobs.ParseKeyID(a.addresses().ID)
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

// agent returns the agent with an ID, which runs.
func (g *grid) agent(id jobs.AgentID) *daemon {
	g.t.Helper()
	for _, a := range g.agents {
		if g.idOf(a) == id {
			return a
		}
	}
	g.t.Fatalf("no agent %s runs", id)
	return nil
}

// awaitEligible waits until the coordinator and all agents know n agents that may keep records.
func (g *grid) awaitEligible(n int) {
	g.t.Helper()
	g.awaitSeen(n, append([]*daemon{g.coordinator}, g.agents...)...)
}

// awaitSeen waits until these see n agents that may keep records. Who is asked writes down who asked.
func (g *grid) awaitSeen(n int, by ...*daemon) {
	g.t.Helper()
	for _, d := range by {
		g.until(fmt.Sprintf("%s sees %d agents", d.name, n), func() bool {
			eligible := 0
			for _, m := range g.members(d) {
				if m.Eligible() {
					eligible++
				}
			}
			return eligible == n
		})
	}
}

// reports returns the reports of a job of one shard that an agent keeps, by their IDs.
func (g *grid) reports(of *daemon, id jobs.JobID) map[jobs.Digest]*record.Report {
	g.t.Helper()
	return decoded(g.t, g.offers(of, jobs.ShardID{Job: id}))
}

func decoded(t testing.TB, offers []records.Offer) map[jobs.Digest]*record.Report {
	t.Helper()
	found := map[jobs.Digest]*record.Report{}
	for _, o := range offers {
		r, err := record.DecodeReport(o.Envelope.Payload)
		if err != nil {
			t.Fatal(err)
		}
		found[o.Envelope.ID()] = r
	}
	return found
}

// offers returns those of any shard as they came.
func (g *grid) offers(of *daemon, shard jobs.ShardID) (found []records.Offer) {
	g.t.Helper()
	err := g.call(of.addresses().Grid, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		stream, err := gridv1.NewRecordsClient(conn).Pull(ctx, &gridv1.PullRequest{
			Scope: records.ShardToProto(shard),
		})
		if err != nil {
			return err
		}
		for {
			reply, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			offers, err := records.OffersFromProto(reply.GetRecords())
			if err != nil {
				return err
			}
			found = append(found, offers...)
		}
	})
	if err != nil {
		g.t.Fatalf("read the reports that %s keeps: %v", of.name, err)
	}
	return found
}

// status is what `gridctl status JOB -o json` prints.
type status struct {
	ID       string
	State    string
	Units    int
	Open     int
	Accepted int
	Failed   int
	Agents   int
	Stewards int
}

func (g *grid) status(job string) status {
	g.t.Helper()
	var s status
	if err := json.Unmarshal([]byte(g.must("gridctl", "status", job, "-o", "json").stdout), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// row is a unit in units.json.
type row struct {
	Unit   int
	Status string
	Reason string
	Digest string
}

func (g *grid) units(dir string) []row {
	g.t.Helper()
	text, err := os.ReadFile(g.path(dir, "units.json"))
	if err != nil {
		g.t.Fatal(err)
	}
	var rows []row
	if err := json.Unmarshal(text, &rows); err != nil {
		g.t.Fatal(err)
	}
	return rows
}

// sameUnits fails the test unless two results folders have the same units, all accepted, with the same
// outcomes.
func (g *grid) sameUnits(got, want string) {
	g.t.Helper()
	for _, r := range g.units(want) {
		if r.Status != "accepted" {
			g.t.Errorf("%s: unit %d is %s", want, r.Unit, r.Status)
		}
	}
	if got, want := g.units(got), g.units(want); !slices.Equal(got, want) {
		g.t.Errorf("units differ:\n%v\nexpected:\n%v", got, want)
	}
}

// job writes a job of counter units in a folder of its own, and returns the path of its job.yaml. The text is
// added to the yaml.
func (g *grid) job(name string, units int, spin int64, text string) string {
	g.t.Helper()
	dir := g.path(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		g.t.Fatal(err)
	}
	yaml := fmt.Sprintf("name: %s\nprogram: counter.wasm\nunits: {count: %d}\n%s\n", name, units, text)
	if !strings.Contains(text, "args:") {
		yaml += "args: [\"${unit}\", none]\n"
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "counter.wasm"), counter(spin), 0o600),
		os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(yaml), 0o600),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	return filepath.Join(dir, "job.yaml")
}

// submit submits a job and returns its ID.
func (g *grid) submit(job string) jobs.JobID {
	g.t.Helper()
	var s status
	if err := json.Unmarshal([]byte(g.must("gridctl", "submit", job, "-o", "json").stdout), &s); err != nil {
		g.t.Fatal(err)
	}
	id, err := jobs.ParseJobID(s.ID)
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

func (g *grid) read(parts ...string) string {
	g.t.Helper()
	text, err := os.ReadFile(g.path(parts...))
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}
