package peer_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

func member(n int, class peer.Class) peer.Member {
	return peer.Member{ID: jobs.AgentID(jobs.DigestOf(fmt.Append(nil, n))), Role: peer.Agent, Class: class, Reachable: true}
}

func pool(t *rapid.T) []peer.Member {
	classes := rapid.SliceOfN(rapid.SampledFrom([]peer.Class{peer.AlwaysOn, peer.Office, peer.Laptop}), 0, 30).Draw(t, "classes")
	members := make([]peer.Member, len(classes))
	for i, c := range classes {
		members[i] = member(i, c)
		members[i].Reachable = rapid.Float64().Draw(t, "reachable") < 0.9
		members[i].Draining = rapid.Float64().Draw(t, "draining") < 0.1
	}
	return members
}

// TestRankNeedsNoAgreement: peers that see the same members in any order choose the same ones, and only
// those that may hold anything.
func TestRankNeedsNoAgreement(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := pool(t)
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		n := rapid.IntRange(0, 6).Draw(t, "n")
		ranked := peer.Rank(key, members, n)
		if again := peer.Rank(key, rapid.Permutation(members).Draw(t, "order"), n); !slices.Equal(ranked, again) {
			t.Fatalf("another order gives %v, not %v", again, ranked)
		}
		eligible := 0
		for _, m := range members {
			if m.Eligible() {
				eligible++
			}
		}
		if len(ranked) != min(n, eligible) {
			t.Fatalf("%d ranked of %d eligible, wanted %d", len(ranked), eligible, n)
		}
		for _, m := range ranked {
			if !m.Eligible() {
				t.Fatalf("%v may hold nothing", m)
			}
		}
	})
}

// TestRankMovesLittle: whoever leaves takes its own place only.
func TestRankMovesLittle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := pool(t)
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		all := peer.Rank(key, members, len(members))
		if len(all) == 0 {
			return
		}
		gone := rapid.SampledFrom(all).Draw(t, "gone")
		left := slices.DeleteFunc(slices.Clone(members), func(m peer.Member) bool { return m.ID == gone.ID })
		want := slices.DeleteFunc(slices.Clone(all), func(m peer.Member) bool { return m.ID == gone.ID })
		if got := peer.Rank(key, left, len(left)); !slices.Equal(got, want) {
			t.Fatalf("without %s the order is %v, expected %v", gone.ID.Short(), got, want)
		}
	})
}

// TestHolders: the copies are on always-on agents but one, and in different subnets, as far as there are any; all
// peers agree on them, and who comes or goes that holds none moves none.
func TestHolders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members := pool(t)
		for i := range members {
			members[i].Address = fmt.Sprintf("10.0.%d.%d:7745", rapid.IntRange(0, 3).Draw(t, "subnet"), i)
		}
		key := jobs.DigestOf(rapid.SliceOf(rapid.Byte()).Draw(t, "key"))
		copies, place := peer.Copies, func(m []peer.Member, n int) []peer.Member { return peer.Holders(key, m, n) }
		if rapid.Bool().Draw(t, "checkpoint") {
			unit := jobs.UnitID{Job: jobs.JobID(key), Unit: rapid.Uint64().Draw(t, "unit")}
			copies, place = peer.CheckpointCopies, func(m []peer.Member, n int) []peer.Member { return peer.CheckpointHolders(unit, m, n) }
		}
		all := place(members, len(members))
		holders := place(members, copies)
		if !slices.Equal(holders, all[:min(copies, len(all))]) || !slices.Equal(holders, place(rapid.Permutation(members).Draw(t, "order"), copies)) {
			t.Fatalf("not the same holders for all: %v, %v", holders, all)
		}
		if again := peer.Rank(key[:], all, len(all)); len(again) != len(all) {
			t.Fatalf("%d of %d members are placed", len(all), len(again))
		}
		if on, can := count(holders, alwaysOn), count(all, alwaysOn); on < min(can, copies-1, len(holders)) {
			t.Fatalf("%d copies on always-on agents, of which there are %d", on, can)
		}
		last := len(holders) - 1
		for i, m := range holders {
			taken := func(o peer.Member) bool {
				return slices.ContainsFunc(holders[:i], func(h peer.Member) bool { return peer.SameSubnet(h, o) })
			}
			better := func(o peer.Member) bool { return !taken(o) && (i == last && last == copies-1 || o.Class == m.Class) }
			if taken(m) && slices.ContainsFunc(all[i:], better) {
				t.Fatalf("copy %d is in a subnet with another, and need not be: %v", i, holders)
			}
		}
		if len(all) > len(holders) {
			gone := rapid.SampledFrom(all[len(holders):]).Draw(t, "gone")
			left := slices.DeleteFunc(slices.Clone(members), func(m peer.Member) bool { return m.ID == gone.ID })
			if got := place(left, copies); !slices.Equal(got, holders) {
				t.Fatalf("without one that holds nothing: %v, not %v", got, holders)
			}
		}
	})
}

func alwaysOn(m peer.Member) bool { return m.Class == peer.AlwaysOn }

func count(list []peer.Member, is func(peer.Member) bool) int {
	n := 0
	for _, m := range list {
		if is(m) {
			n++
		}
	}
	return n
}

func TestSameSubnet(t *testing.T) {
	for _, test := range []struct {
		a, b string
		same bool
	}{
		{"10.1.2.3:1", "10.1.2.200:2", true},
		{"10.1.2.3:1", "10.1.3.3:1", false},
		{"[::ffff:10.1.2.3]:1", "10.1.2.4:1", true},
		{"127.0.0.1:1", "127.9.9.9:1", true},
		{"127.0.0.1:1", "[::1]:1", true},
		{"[2001:db8:0:1::5]:1", "[2001:db8:0:1:ffff::6]:1", true},
		{"[2001:db8:0:1::5]:1", "[2001:db8:0:2::5]:1", false},
		{"[fe80::1%eth0]:1", "[fe80::2%eth1]:1", true},
		{"10.1.2.3:1", "[2001:db8::1]:1", false},
	} {
		if got := peer.SameSubnet(peer.Member{Address: test.a}, peer.Member{Address: test.b}); got != test.same {
			t.Errorf("%s and %s: %v", test.a, test.b, got)
		}
	}
}

// BenchmarkHolders is what placing each pack costs in a full pool, all in one subnet.
func BenchmarkHolders(b *testing.B) {
	var members []peer.Member
	for i := range 500 {
		m := member(i, peer.Office)
		m.Address = fmt.Sprintf("10.0.0.%d:7745", i%256)
		members = append(members, m)
	}
	for b.Loop() {
		peer.Holders(jobs.Digest{1}, members, 2*peer.Copies)
	}
}

// TestRankWeighs: first places go by weight, 16 to 1 to 0.1.
func TestRankWeighs(t *testing.T) {
	members := []peer.Member{member(1, peer.AlwaysOn), member(2, peer.Office), member(3, peer.Office), member(4, peer.Laptop)}
	const keys = 20_000
	first := map[jobs.AgentID]int{}
	for i := range keys {
		first[peer.Rank(fmt.Append(nil, "key", i), members, 1)[0].ID]++
	}
	total := 16 + 1 + 1 + 0.1
	for i, weight := range []float64{16, 1, 1, 0.1} {
		want := keys * weight / total
		got := float64(first[members[i].ID])
		// Six standard deviations of a binomial count: a fault of the weights is far outside.
		if math.Abs(got-want) > 6*math.Sqrt(want)+1 {
			t.Errorf("member %d with weight %g is first %g times of %d, expected about %.0f", i, weight, got, keys, want)
		}
	}
}

func TestOnlyAgentsHold(t *testing.T) {
	good := member(1, peer.Office)
	for name, change := range map[string]func(*peer.Member){
		"coordinator": func(m *peer.Member) { m.Role, m.Class = peer.Coordinator, 0 },
		"unreachable": func(m *peer.Member) { m.Reachable = false },
		"draining":    func(m *peer.Member) { m.Draining = true },
		"no class":    func(m *peer.Member) { m.Class = 0 },
	} {
		m := good
		change(&m)
		if m.Eligible() {
			t.Errorf("%s: eligible", name)
		}
	}
	if !good.Eligible() {
		t.Error("an office PC that is reachable may hold")
	}
}

func TestNeeded(t *testing.T) {
	var members []peer.Member
	for n, want := range []int{1, 1, 2, 2, 2} {
		if got := peer.Needed(members); got != want {
			t.Errorf("%d agents: %d, expected %d", n, got, want)
		}
		members = append(members, member(n, peer.Laptop))
	}
}

func TestNamesOfRolesAndClasses(t *testing.T) {
	for r := peer.Agent; r <= peer.Operator; r++ {
		if back, err := peer.ParseRole(r.String()); err != nil || back != r {
			t.Errorf("role %s came back as %s, %v", r, back, err)
		}
	}
	for c := peer.AlwaysOn; c <= peer.Laptop; c++ {
		if back, err := peer.ParseClass(c.String()); err != nil || back != c {
			t.Errorf("class %s came back as %s, %v", c, back, err)
		}
	}
	for _, bad := range []string{"", "anonymous", "Agent", "unknown"} {
		if _, err := peer.ParseRole(bad); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("ParseRole(%q): %v", bad, err)
		}
		if _, err := peer.ParseClass(bad); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("ParseClass(%q): %v", bad, err)
		}
	}
	if s := peer.Role(200).String(); s != "unknown" {
		t.Errorf("role 200 is called %q", s)
	}
}

// TestSources holds that a blob is found however much the pool has grown since it was stored.
func TestSources(t *testing.T) {
	var members []peer.Member
	for i := range 50 {
		members = append(members, peer.Member{ID: jobs.AgentID{byte(i)}, Role: peer.Agent, Class: peer.Office, Reachable: true})
	}
	self := jobs.AgentID{200}
	program := jobs.DigestOf([]byte("program"))
	holders := peer.Holders(program, members[:6], peer.Copies)
	moved := 0
	for _, h := range holders {
		members[h.ID[0]].Draining = true
		now := peer.Holders(program, members, 2*peer.Copies)
		if !slices.ContainsFunc(now, func(m peer.Member) bool { return m.ID == h.ID }) {
			moved++
		}
		asked := peer.Sources(self, program, members)
		if !slices.ContainsFunc(asked, func(m peer.Member) bool { return m.ID == h.ID }) {
			t.Errorf("holder %d is not asked", h.ID[0])
		}
	}
	if moved == 0 {
		t.Fatal("no holder was displaced: this tests nothing")
	}
	if !members[holders[0].ID[0]].Draining {
		t.Error("the members were changed")
	}
	for i := range 2 * 64 {
		members = append(members, peer.Member{ID: jobs.AgentID{byte(i), 1}, Role: peer.Agent, Class: peer.Office, Reachable: true})
	}
	if asked := peer.Sources(self, program, members); len(asked) != 64 {
		t.Errorf("%d are asked", len(asked))
	}
	members[0].Reachable = false
	stranger := jobs.AgentID{9, 9}
	asked := peer.Sources(self, program, members, members[0].ID, stranger)
	if asked[0].ID != members[0].ID || slices.ContainsFunc(asked[1:], func(m peer.Member) bool { return m.ID == members[0].ID }) {
		t.Errorf("who is known to have it is not asked first, or is asked twice")
	}
}

// TestSourcesAreNear: the reader's subnet is asked first, of it those that should have the blob; it does not ask
// itself, and two readers do not begin with the same agents.
func TestSourcesAreNear(t *testing.T) {
	var members []peer.Member
	for i := range 60 {
		m := member(i, peer.Office)
		m.Address = fmt.Sprintf("10.0.%d.%d:7745", i%3, i)
		members = append(members, m)
	}
	program := jobs.DigestOf([]byte("program"))
	holds := func(m peer.Member) bool {
		return slices.ContainsFunc(peer.Holders(program, members, peer.Copies), func(h peer.Member) bool { return h.ID == m.ID })
	}
	first := map[jobs.AgentID]int{}
	for _, reader := range members {
		asked := peer.Sources(reader.ID, program, members)
		if slices.ContainsFunc(asked, func(m peer.Member) bool { return m.ID == reader.ID }) || len(asked) != len(members)-1 {
			t.Fatalf("%d are asked, or the reader itself", len(asked))
		}
		near := slices.IndexFunc(asked, func(m peer.Member) bool { return !peer.SameSubnet(m, reader) })
		if near < 4 || near > 4+2*peer.Copies {
			t.Errorf("%d neighbours are asked before others", near)
		}
		if !holds(reader) && !holds(asked[0]) {
			t.Errorf("a holder is in each subnet, and not the first that is asked")
		}
		first[asked[near-1].ID]++
		for _, m := range asked[near:min(len(asked), near+2)] {
			if !holds(m) {
				t.Errorf("of those that are far one is asked early that should not have it")
			}
		}
	}
	if len(first) < 10 {
		t.Errorf("all readers ask the same %d neighbours", len(first))
	}
}
