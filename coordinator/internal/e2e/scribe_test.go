package e2e_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// scribe is the test as an agent of the grid: it gives one agent reports and blobs, and remembers what was
// acknowledged. Its reports repeat what others reported, so that they change nothing.
type scribe struct {
	g      *grid
	id     *identity.Identity
	seen   map[jobs.Digest]bool // reports that were repeated
	unsaid []said               // reports to be pushed
	number uint64               // counts the reports

	kept   map[jobs.Digest]bool      // reports that were acknowledged
	stored map[jobs.Digest]storedFor // blobs that were acknowledged
}

// said is a report with what belongs to it.
type said struct {
	offer  records.Offer
	report *record.Report
}

type storedFor struct {
	job  jobs.JobID
	blob jobs.Blob
}

func newScribe(g *grid) *scribe {
	g.t.Helper()
	path := g.path("scribe")
	if err := os.Mkdir(path, 0o700); err != nil {
		g.t.Fatal(err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		g.t.Fatal(err)
	}
	defer dir.Close()
	id, _, err := node.Enrol(g.ctx, dir, g.token("--class", always), peer.Agent)
	if err != nil {
		g.t.Fatal(err)
	}
	return &scribe{g: g, id: id, seen: map[jobs.Digest]bool{}, kept: map[jobs.Digest]bool{}, stored: map[jobs.Digest]storedFor{}}
}

func (s *scribe) dialer() *rpc.Dialer {
	return rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return s.id }, Root: s.id.Root})
}

// gather returns the reports of a job of one shard that an agent keeps, and writes others like them for those
// that are new.
func (s *scribe) gather(from *daemon, job jobs.JobID) map[jobs.Digest]said {
	s.g.t.Helper()
	all := map[jobs.Digest]said{}
	for _, o := range s.g.offers(from, jobs.ShardID{Job: job}) {
		r, err := record.DecodeReport(o.Envelope.Payload)
		if err != nil {
			s.g.t.Fatal(err)
		}
		id := o.Envelope.ID()
		all[id] = said{o, r}
		if !s.seen[id] && r.Author != s.id.ID() {
			s.seen[id] = true
			s.repeat(o, r)
		}
	}
	return all
}

// repeat writes a report of its own about each bundle of another's.
func (s *scribe) repeat(o records.Offer, r *record.Report) {
	for _, b := range r.Bundles {
		s.number++
		own := *r
		own.Author, own.Counter, own.Bundles = s.id.ID(), s.number, []record.BundleReport{b}
		offer := records.Offer{Chains: [][][]byte{s.id.Chain}, Record: records.Record{
			Envelope: record.Sign(record.TypeReport, own.Encode(), s.id.Key), Receipts: o.Receipts,
		}}
		s.unsaid = append(s.unsaid, said{offer, &own})
	}
}

// speak gives an agent reports and blobs until ctx ends, or the agent.
func (s *scribe) speak(ctx context.Context, to *daemon, id jobs.AgentID) {
	ticker := time.NewTicker(look / 5)
	defer ticker.Stop()
	for !to.listens() {
		select {
		case <-ctx.Done():
			return
		case <-to.ended:
			return
		case <-ticker.C:
		}
	}
	dialer := s.dialer()
	defer dialer.Close()
	conn, err := dialer.Conn(to.addresses().Grid, id)
	if err != nil {
		return // it has died
	}
	for ctx.Err() == nil && len(s.unsaid) > 0 {
		next := s.unsaid[0]
		refused, err := records.Push(ctx, conn, []records.Offer{next.offer}, false)
		switch {
		case err == nil && len(refused) == 0:
			s.kept[next.offer.Envelope.ID()] = true
			s.unsaid = s.unsaid[1:]
		case err == nil && refused[0].Final:
			s.g.t.Errorf("the victim refuses a report for good: %s", refused[0].Reason)
			return
		}
		s.store(ctx, blobs.Peer{Conn: conn, ID: id}, next.report.Job)
		select {
		case <-ctx.Done():
		case <-to.ended:
			return
		case <-ticker.C:
		}
	}
}

// store gives an agent a blob of random bytes.
func (s *scribe) store(ctx context.Context, to blobs.Peer, job jobs.JobID) {
	content := make([]byte, 1<<10)
	_, _ = rand.Read(content) // never fails
	b := jobs.Blob{Digest: jobs.DigestOf(content), Size: int64(len(content))}
	if _, err := blobs.Send(ctx, to, job, b, bytes.NewReader(content)); err == nil {
		s.stored[b.Digest] = storedFor{job, b}
	}
}

// checkStored fails unless every blob that was acknowledged is in the folder, and all blobs there are whole.
// Files that were found intact before are not read again.
func (s *scribe) checkStored(folder string, intact map[string]bool) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	here := map[jobs.Digest]bool{}
	for _, e := range entries {
		d, notBlob := jobs.ParseDigest(e.Name())
		if notBlob != nil {
			continue
		}
		here[d] = true
		if intact[e.Name()] {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			return err
		}
		if jobs.DigestOf(content) != d {
			return fmt.Errorf("blob %s is not whole", d)
		}
		intact[e.Name()] = true
	}
	for d, b := range s.stored {
		_, err := os.Stat(filepath.Join(folder, "refs", b.job.String()+"."+d.String()))
		if !here[d] || err != nil {
			return fmt.Errorf("blob %s is gone, and the victim gave a receipt for it: %w", d, err)
		}
	}
	return nil
}

// fetchStored reads every blob that was acknowledged back from the agent.
func (s *scribe) fetchStored(from *daemon, id jobs.AgentID) error {
	dialer := s.dialer()
	defer dialer.Close()
	client := blobs.NewClient(blobs.NewMemory(0), dialer, s.id.Key)
	members := []peer.Member{{ID: id, Address: from.addresses().Grid, Role: peer.Agent}}
	var err error
	for _, b := range s.stored {
		err = errors.Join(err, client.Fetch(s.g.ctx, blobs.For(b.job), b.blob, members))
	}
	return err
}

// recordsOnDisk returns the IDs of the records in a bbolt file that nobody has open, after the file's own
// consistency was checked.
func recordsOnDisk(t testing.TB, path string) map[jobs.Digest]bool {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		t.Fatalf("open the records of an agent that was killed: %v", err)
	}
	defer db.Close()
	ids := map[jobs.Digest]bool{}
	err = db.View(func(tx *bbolt.Tx) (err error) {
		for problem := range tx.Check() {
			err = errors.Join(err, problem)
		}
		return errors.Join(err, tx.Bucket([]byte("records")).ForEach(func(k, _ []byte) error {
			id, err := jobs.DigestFromBytes(k[len(k)-len(jobs.Digest{}):]) // the end of its key
			ids[id] = true
			return err
		}))
	})
	if err != nil {
		t.Fatal(err)
	}
	return ids
}
