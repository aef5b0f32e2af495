package gridtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// callTimeout bounds what a user asks of one peer.
const callTimeout = 5 * time.Second

// User is a person with a machine and an identity: what gridctl is, as far as peers can see.
type User struct {
	Identity *identity.Identity
	Dialer   *rpc.Dialer

	grid *Grid
}

// NewUser makes a user who has enrolled.
func (g *Grid) NewUser(role peer.Role, owner string) *User {
	g.T.Helper()
	g.users++
	id, _ := g.issue(identity.Grant{Role: role, Owner: owner})
	ip := fmt.Sprintf("10.0.2.%d", g.users)
	u := &User{grid: g, Identity: id, Dialer: rpc.NewDialer(rpc.DialOptions{
		Identity: func() *identity.Identity { return id }, Root: id.Root, Dial: dialFrom(g.Net.Host(ip)),
	})}
	g.T.Cleanup(func() {
		u.Dialer.Close()
		g.Net.Stop(ip)
	})
	return u
}

// Submit submits a job of the grid's own user.
func (g *Grid) Submit(units uint64, change ...func(*manifest.Manifest)) *Job {
	g.T.Helper()
	return g.User.Submit(units, change...)
}

// Submit has the coordinator admit and seed a job of one-unit bundles that lives for a day, unless it is
// changed. The error of a coordinator that refuses it fails the test.
func (u *User) Submit(units uint64, change ...func(*manifest.Manifest)) *Job {
	u.grid.T.Helper()
	u.grid.jobs++
	return u.SubmitProgram(fmt.Appendf(nil, "program %d", u.grid.jobs), units, change...)
}

// SubmitProgram is Submit with a program of the test's own, which no other job has.
func (u *User) SubmitProgram(program []byte, units uint64, change ...func(*manifest.Manifest)) *Job {
	g := u.grid
	g.T.Helper()
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: "job", Submitter: u.Identity.ID(), Runtime: manifest.RuntimeWasm,
		Program: jobs.Blob{Digest: jobs.DigestOf(program), Size: int64(len(program))}, Args: []string{"${unit}"},
		Units: units, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Hour, Retries: 1, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: manifest.Version,
	}
	for _, c := range change {
		c(m)
	}
	payload, err := m.Encode()
	g.must(err)
	env := record.Sign(record.TypeManifest, payload, u.Identity.Key)
	j := &Job{grid: g, ID: jobs.JobID(env.ID()), Manifest: m, By: u}
	g.must(u.submit(j, env, program))
	return j
}

// submit calls the coordinator until it lacks nothing, as gridctl does.
func (u *User) submit(j *Job, env record.Envelope, program []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	to, err := u.Conn(u.grid.Coordinator)
	if err != nil {
		return err
	}
	req := &gridv1.SubmitRequest{Manifest: env.ToProto(), Chain: &gridv1.Chain{Certificates: u.Identity.Chain}}
	for range 2 {
		reply, err := gridv1.NewCoordinatorClient(to).Submit(ctx, req)
		if err != nil || len(reply.GetMissing()) == 0 {
			return err
		}
		into := blobs.Peer{ID: u.grid.Coordinator.node.ID(), Conn: to}
		if _, err := blobs.Send(ctx, into, j.ID, j.Manifest.Program, bytes.NewReader(program)); err != nil {
			return err
		}
	}
	return jobs.Errorf(jobs.Internal, "the coordinator goes on asking for blobs that it was given")
}

// Conn returns a connection to a machine that is on.
func (u *User) Conn(m *Machine) (grpc.ClientConnInterface, error) {
	return u.Dialer.Conn(m.node.Address(), m.node.ID())
}

// Members asks the coordinator, or else one agent after the other, who is in the pool.
func (u *User) Members() ([]peer.Member, error) {
	var last error
	for _, m := range append([]*Machine{u.grid.Coordinator}, u.grid.Agents...) {
		members, err := u.list(address(m.IP))
		if err == nil {
			return members, nil
		}
		last = err
	}
	return nil, last
}

func (u *User) list(address string) ([]peer.Member, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	conn, err := u.Dialer.Conn(address, jobs.KeyID{})
	if err != nil {
		return nil, err
	}
	reply, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
	if err != nil {
		return nil, err
	}
	return node.MembersFromProto(reply)
}

// reader is a user's working copy of a job's records and packs.
type reader struct {
	user    *User
	members []peer.Member
	store   *records.Store
	blobs   *blobs.Dir
	client  *blobs.Client
}

func (u *User) reader() (*reader, error) {
	r := &reader{user: u}
	dir := u.grid.T.TempDir()
	var err error
	if r.members, err = u.Members(); err != nil {
		return nil, err
	}
	r.store, err = records.Open(records.Options{
		Path: filepath.Join(dir, recordsFile), Root: u.Identity.Root, Self: u.Identity.ID(), Reader: true,
		Members: func() []peer.Member { return r.members }, Log: u.grid.log,
	})
	if err != nil {
		return nil, err
	}
	if r.blobs, err = blobs.OpenDir(filepath.Join(dir, "blobs"), 0); err != nil {
		return nil, errors.Join(err, r.store.Close())
	}
	r.client = blobs.NewClient(r.blobs, u.Dialer, u.Identity.Key)
	return r, nil
}

func (r *reader) close() error { return errors.Join(r.store.Close(), r.blobs.Close()) }

// pull fetches a scope from two of the members that answer.
func (r *reader) pull(from []peer.Member, scope records.Scope) error {
	answers, last := 0, jobs.Errorf(jobs.Unavailable, "there is nobody to ask")
	for _, m := range from {
		if answers == 2 {
			return nil
		}
		conn, err := r.user.Dialer.Conn(m.Address, m.ID)
		if err == nil {
			ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
			err = r.store.Pull(ctx, conn, scope)
			cancel()
		}
		if last = err; err == nil {
			answers++
		}
	}
	if answers > 0 {
		return nil
	}
	return last
}

// units unites what two stewards of each shard know.
func (r *reader) units(j *Job) ([]ledger.Unit, error) {
	if err := r.pull(r.members, records.Scope{}); err != nil {
		return nil, err
	}
	var units []ledger.Unit
	for shard := range j.shards() {
		if err := r.pull(peer.Stewards(shard, r.members), records.Scope{Shard: shard, Reports: true}); err != nil {
			return nil, err
		}
		err := r.store.WithLedger(shard, func(l *ledger.Ledger) {
			first, n := l.Units()
			for u := first; u < first+n; u++ {
				units = append(units, l.Unit(u, time.Now()))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return units, nil
}

// outcomes returns the outcomes of the accepted units.
func (r *reader) outcomes(j *Job) (map[uint64]record.Outcome, error) {
	units, err := r.units(j)
	if err != nil {
		return nil, err
	}
	out := map[uint64]record.Outcome{}
	for i, u := range units {
		if u.Status != ledger.Accepted {
			continue
		}
		n := uint64(i)
		if out[n], err = r.outcome(j, n, u); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Fetch has the user ask one machine for a blob of a job.
func (u *User) Fetch(j *Job, b jobs.Blob, from *Machine) error {
	u.grid.T.Helper()
	r, err := u.reader()
	u.grid.must(err)
	defer func() { u.grid.must(r.close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	m, ok := from.node.Member(from.node.ID())
	if !ok {
		u.grid.T.Fatalf("%s is no member in its own eyes", from.IP)
	}
	return r.client.Fetch(ctx, blobs.Claim{Job: j.ID, Kind: blobs.Cached}, b, []peer.Member{m})
}

// outcome fetches the pack of a unit and reads its outcome.
func (r *reader) outcome(j *Job, number uint64, u ledger.Unit) (record.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	from := peer.Holders(u.From.Pack.Digest, r.members, len(r.members))
	if err := r.client.Fetch(ctx, blobs.Claim{Job: j.ID, Kind: blobs.Cached}, u.From.Pack, from); err != nil {
		return record.Outcome{}, err
	}
	in, _, err := r.blobs.Open(u.From.Pack.Digest)
	if err != nil {
		return record.Outcome{}, err
	}
	data, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil {
		return record.Outcome{}, err
	}
	pack, err := record.DecodePack(data)
	if err != nil {
		return record.Outcome{}, err
	}
	return pack.Outcome(number, u.Outcome)
}
