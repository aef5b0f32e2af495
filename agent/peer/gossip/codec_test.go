package gossip

import (
	"bytes"
	"crypto/ed25519"
	"log/slog"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// longestAddress is the longest text that an address can have.
var longestAddress = netip.MustParseAddrPort("[2001:db8:1111:2222:3333:4444:5555:6666]:65535")

func TestMetaFits(t *testing.T) {
	o := (&pool{t: t}).options(1)
	o.Boot, o.Advertise = 1<<64-1, longestAddress
	o.State = State{
		Voucher: Voucher{
			Role: peer.Agent, Class: peer.Laptop, NotAfter: time.Unix(maxSeconds, 0), Signature: make([]byte, maxVoucher),
		},
		Reachable: true, Draining: true, Cores: maxCores,
	}
	n := honest(t, o)
	size := len(n.Meta) + protowire.SizeVarint(maxVersion) - protowire.SizeVarint(peer.Version)
	t.Logf("meta of at most %d bytes", size)
	if size > maxMeta || maxMeta > memberlist.MetaMaxSize/2 {
		t.Errorf("meta of %d bytes, at most %d are taken", size, maxMeta)
	}
	if _, err := newVerifier(anyVoucher).verify(n); err != nil {
		t.Errorf("the largest meta: %v", err)
	}
	o.State.Cores++
	if _, err := encodeMeta(o.State, o.Key, "x", o.Advertise); err == nil {
		t.Error("too many cores are encoded")
	}
}

func anyVoucher(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error { return nil }

func TestMetaRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Voucher: Voucher{
				Role: peer.Agent, Class: peer.Class(rapid.Uint8Range(1, 3).Draw(t, "class")),
				NotAfter:  time.Unix(rapid.Int64Range(1, maxSeconds).Draw(t, "until"), 0),
				Signature: rapid.SliceOfN(rapid.Byte(), 1, maxVoucher).Draw(t, "voucher"),
			},
			Reachable: rapid.Bool().Draw(t, "reachable"), Draining: rapid.Bool().Draw(t, "draining"),
			Cores: rapid.IntRange(0, maxCores).Draw(t, "cores"),
		}
		key := keyOf("round trip")
		meta, err := encodeMeta(s, key, nameOf(idOf(key), 1), longestAddress)
		if err != nil {
			t.Fatal(err)
		}
		c, err := decodeMeta(meta)
		if err != nil {
			t.Fatal(err)
		}
		if !c.equal(s) || c.version != peer.Version {
			t.Fatalf("%+v came back as %+v", s, c)
		}
	})
}

// TestMetaOfALaterVersion reads a meta with a field that this version does not know.
func TestMetaOfALaterVersion(t *testing.T) {
	o := (&pool{t: t}).options(1)
	n := honest(t, o)
	body, _, err := splitMeta(n.Meta)
	if err != nil {
		t.Fatal(err)
	}
	body = protowire.AppendVarint(protowire.AppendTag(bytes.Clone(body), 77, protowire.VarintType), 5)
	signature := ed25519.Sign(o.Key, signedBytes(body, n.Name, o.Advertise))
	n.Meta = protowire.AppendBytes(protowire.AppendTag(body, signatureField, protowire.BytesType), signature)
	if _, err := newVerifier(verifyVoucher).verify(n); err != nil {
		t.Error(err)
	}
}

func FuzzMeta(f *testing.F) {
	o := (&pool{}).options(1)
	name := nameOf(idOf(o.Key), o.Boot)
	meta, err := encodeMeta(o.State, o.Key, name, o.Advertise)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(meta)
	f.Add(meta[:len(meta)-1])
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, maxMeta+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeMeta(b)
		if err != nil {
			return
		}
		if len(b) > maxMeta || c.Cores > maxCores || len(c.Voucher.Signature) > maxVoucher || c.version < 1 {
			t.Fatalf("out of bounds: %+v", c)
		}
		n := &memberlist.Node{Name: name, Addr: o.Advertise.Addr().AsSlice(), Port: o.Advertise.Port(), Meta: b}
		if _, err := newVerifier(verifyVoucher).verify(n); err == nil && !bytes.Equal(b, meta) {
			t.Fatal("a forged meta is taken")
		}
	})
}

func FuzzWake(f *testing.F) {
	b, err := encodeWake(Wake{Job: jobs.JobID{1}, From: jobs.AgentID{2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Add([]byte{})
	f.Add(append(bytes.Clone(b), make([]byte, maxWakeBytes)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := decodeWake(b)
		if err != nil {
			if w != (Wake{}) {
				t.Fatalf("%+v comes with an error", w)
			}
			return
		}
		again, err := encodeWake(w)
		if err != nil {
			t.Fatal(err)
		}
		if x, err := decodeWake(again); err != nil || x != w {
			t.Fatalf("%+v came back as %+v: %v", w, x, err)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add(nameOf(jobs.AgentID{1}, 1<<64-1))
	f.Add(nameOf(jobs.AgentID{1}, 0) + "7")
	f.Add(".")
	f.Add(strings.ToUpper(nameOf(jobs.AgentID{0xab}, 1)))
	f.Fuzz(func(t *testing.T, name string) {
		if id, boot, err := parseName(name); err == nil && nameOf(id, boot) != name {
			t.Fatalf("%q is read as %q", name, nameOf(id, boot))
		}
	})
}

func TestPacer(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	said := State{Voucher: Voucher{NotAfter: now, Signature: []byte{1}}, Cores: 1}
	for name, test := range map[string]struct {
		change func(*State)
		at     time.Duration
		say    bool
		cores  int
		again  time.Duration
	}{
		"nothing":          {func(*State) {}, 0, false, 1, 0},
		"cores":            {func(s *State) { s.Cores = 2 }, 0, false, 1, 7 * time.Second},
		"cores later":      {func(s *State) { s.Cores = 2 }, 7 * time.Second, true, 2, 0},
		"reachable":        {func(s *State) { s.Reachable = true }, 0, true, 1, 0},
		"draining":         {func(s *State) { s.Draining, s.Cores = true, 9 }, 0, true, 1, 7 * time.Second},
		"voucher":          {func(s *State) { s.Voucher.Signature = []byte{2} }, 0, true, 1, 0},
		"voucher and more": {func(s *State) { s.Voucher.Signature, s.Cores = []byte{2}, 9 }, 8 * time.Second, true, 9, 0},
	} {
		p := pacer{said: said, next: now.Add(7 * time.Second)}
		want := said.clone()
		test.change(&want)
		say, again := p.due(want, now.Add(test.at))
		if say.equal(said) == test.say || say.Cores != test.cores || again != test.again {
			t.Errorf("%s: says %+v and waits %s", name, say, again)
		}
	}
	for n, least := range map[int]time.Duration{1: 10 * time.Second, 6: 10 * time.Second, 100: 150 * time.Second, 500: 750 * time.Second} {
		for range 100 {
			if d := pause(n); d < least || d > least*5/4 {
				t.Fatalf("pause of %d members: %s, want %s and up to a quarter more", n, d, least)
			}
		}
	}
}

// TestCoresChangeSeldom: two announcements of other cores are never closer than they may be, whatever is announced
// between them.
func TestCoresChangeSeldom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		p := pacer{every: 10 * time.Minute}
		var want State
		var changed time.Time
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "passes")) * time.Second)
			want.Cores = rapid.IntRange(0, 3).Draw(t, "cores")
			want.Reachable, want.Draining = rapid.Bool().Draw(t, "reachable"), rapid.Bool().Draw(t, "draining")
			say, again := p.due(want, now)
			if say.Reachable != want.Reachable || say.Draining != want.Draining || say.Cores != want.Cores && again <= 0 {
				t.Fatalf("of %+v it says %+v, and looks again in %s", want, say, again)
			}
			if say.equal(p.said) {
				continue
			}
			if say.Cores != p.said.Cores {
				if !changed.IsZero() && now.Sub(changed) < p.every {
					t.Fatalf("other cores after %s", now.Sub(changed))
				}
				changed = now
			}
			p.tell(say, now, pause(rapid.IntRange(1, 600).Draw(t, "members")))
		}
	})
}

// TestMemberSaysNoMore: what gossip carries of a member is what deploy/docs/privacy.md lists: the fields of memberlist's
// nodes, and a meta that is a NodeMeta and nothing else, the same bytes for the same state.
func TestMemberSaysNoMore(t *testing.T) {
	row := "| `memberlist.Node` | "
	for f := range reflect.TypeFor[memberlist.Node]().Fields() {
		row += "`" + f.Name + "` "
	}
	if page, err := os.ReadFile("../../../deploy/docs/privacy.md"); err != nil || !strings.Contains(string(page), "\n"+row+"| ") {
		t.Errorf("deploy/docs/privacy.md has no row that begins with %s(%v)", row, err)
	}
	key := keyOf("says no more")
	s := State{Voucher: Voucher{Role: peer.Agent, Class: peer.Office, NotAfter: time.Unix(2e9, 0), Signature: []byte{1}}, Reachable: true, Cores: 3}
	meta := func() []byte {
		meta, err := encodeMeta(s, key, nameOf(idOf(key), 1), longestAddress)
		if err != nil {
			t.Fatal(err)
		}
		return meta
	}
	first := meta()
	var m gridv1.NodeMeta
	if err := proto.Unmarshal(first, &m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Errorf("a meta is no NodeMeta: %v, and has %x besides", err, m.ProtoReflect().GetUnknown())
	}
	s.Cores = 0
	none := meta()
	s.Cores = 3
	if bytes.Equal(first, none) || !bytes.Equal(first, meta()) {
		t.Error("a meta tells of more than the state")
	}
}

func TestLogIsBounded(t *testing.T) {
	var out bytes.Buffer
	w := &logWriter{log: slog.New(slog.NewTextHandler(&out, nil))}
	for range 100 {
		if _, err := w.Write([]byte("[ERR] memberlist: Decrypt packet failed\n")); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("[INFO] memberlist: chatter\n")); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != maxWarnings {
		t.Errorf("%d lines, want %d:\n%s", n, maxWarnings, out.String())
	}
	if !strings.Contains(out.String(), `level=WARN msg=memberlist says="Decrypt packet failed"`) {
		t.Error(out.String())
	}
}
