// Package jobtest gives tests what the coordinator has before it does anything: a pool, a records store and
// admitted jobs in it. The pool's agents answer calls as the test says; there is no network.
package jobtest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// Pool is a coordinator's view of a pool.
type Pool struct {
	Store *records.Store
	// Answer is what the agents do with a call. A nil reply is an empty one.
	Answer func(to jobs.AgentID, method string, request any) (proto.Message, error)

	t                      testing.TB
	coordinator, submitter *identity.Identity

	mu     sync.Mutex // guards agents
	agents []peer.Member
}

// NewPool makes a pool of always-on agents and an empty store, which is closed with the test.
func NewPool(t testing.TB, agents int) *Pool {
	t.Helper()
	grid := identitytest.NewGrid(t)
	p := &Pool{t: t, coordinator: grid.Role(peer.Coordinator, ""), submitter: grid.Role(peer.Submitter, "alice")}
	for i := range agents {
		p.agents = append(p.agents, peer.Member{
			ID: grid.Agent().ID(), Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true, Cores: 2,
			Address: fmt.Sprintf("10.0.0.%d:1", i+1),
		})
	}
	var err error
	p.Store, err = records.Open(records.Options{
		Path: filepath.Join(t.TempDir(), "records.db"), Root: grid.Root(), Self: p.coordinator.ID(),
		Members: p.Members, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// Agents returns the pool without the coordinator.
func (p *Pool) Agents() []peer.Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.agents)
}

// SetAgents lets agents come, change and go.
func (p *Pool) SetAgents(agents []peer.Member) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.agents = agents
}

// Members returns the pool, the coordinator included.
func (p *Pool) Members() []peer.Member {
	return append(p.Agents(), peer.Member{ID: p.coordinator.ID(), Role: peer.Coordinator, Reachable: true, Address: "10.0.0.100:1"})
}

// Cancel puts the submitter's cancel of a job into the store.
func (p *Pool) Cancel(id jobs.JobID) {
	p.t.Helper()
	c := record.Cancel{Job: id}
	p.add(record.Sign(record.TypeCancel, c.Encode(), p.submitter.Key), p.submitter)
}

// Admit puts an admitted job into the store.
func (p *Pool) Admit(name string, change func(*manifest.Manifest)) records.Job {
	p.t.Helper()
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: name, Submitter: p.submitter.ID(), Runtime: manifest.RuntimeWasm,
		Program: jobs.Blob{Digest: jobs.DigestOf([]byte("program")), Size: 7}, Units: 10, Bundle: 1, Quorum: 1,
		Memory: 64 << 20, Timeout: time.Minute, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: manifest.Version,
	}
	if change != nil {
		change(m)
	}
	payload, err := m.Encode()
	if err != nil {
		p.t.Fatal(err)
	}
	env := record.Sign(record.TypeManifest, payload, p.submitter.Key)
	env.Countersign(p.coordinator.Key)
	p.add(env, p.submitter, p.coordinator)
	job, err := p.Store.Job(jobs.JobID(env.ID()))
	if err != nil {
		p.t.Fatal(err)
	}
	return job
}

// add puts a record into the store.
func (p *Pool) add(env record.Envelope, signers ...*identity.Identity) {
	p.t.Helper()
	o := records.Offer{Record: records.Record{Envelope: env}}
	for _, id := range signers {
		o.Chains = append(o.Chains, id.Chain)
	}
	_, refused, err := p.Store.Add(p.t.Context(), []records.Offer{o}, false)
	if err != nil || len(refused) > 0 {
		p.t.Fatalf("add a record: %v, refused %v", err, refused)
	}
}

// Dial returns a connection on which Answer answers.
func (p *Pool) Dial(_ string, id jobs.AgentID) (grpc.ClientConnInterface, error) {
	return &conn{pool: p, to: id}, nil
}

type conn struct {
	pool *Pool
	to   jobs.AgentID
}

// Invoke implements grpc.ClientConnInterface.
func (c *conn) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	answer, err := c.pool.Answer(c.to, method, args)
	if err == nil && answer != nil {
		proto.Merge(reply.(proto.Message), answer)
	}
	return err
}

// NewStream implements grpc.ClientConnInterface.
func (c *conn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, jobs.Errorf(jobs.Unsupported, "the pool of the test has no streams")
}
