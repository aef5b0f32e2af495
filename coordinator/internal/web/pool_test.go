package web

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// members are so many agents of a class in a subnet, the first few of which offer cores.
func members(subnet string, class peer.Class, n, offering int) []peer.Member {
	var out []peer.Member
	for i := range n {
		m := peer.Member{
			ID: jobs.KeyID(jobs.DigestOf(fmt.Append(nil, subnet, class, i))), Role: peer.Agent, Class: class, Reachable: true, Version: 1, Address: fmt.Sprintf(subnet, i+1),
		}
		if i < offering {
			m.Cores = 4
		}
		out = append(out, m)
	}
	return out
}

func TestGroups(t *testing.T) {
	for name, c := range map[string]struct {
		members []peer.Member
		groups  []string
		others  string
	}{
		"nobody": {nil, nil, "<nil>"},
		"two subnets": {
			append(members("10.0.1.%d:1", peer.Office, 5, 2), members("[2001:db8:1:2::%d]:1", peer.Laptop, 7, 7)...),
			[]string{"2001:db8:1:2::/64: 7 of 7, 28 cores", "10.0.1.0/24: 2 of 5, 8 cores"},
			"<nil>",
		},
		"small ones together": {
			append(members("10.0.1.%d:1", peer.Office, 4, 1), members("10.0.2.%d:1", peer.Office, 4, 2)...), nil, "others of 2: 3 of 8, 12 cores",
		},
		"too few together": {members("10.0.1.%d:1", peer.Office, 4, 1), nil, "others of 1: not told"},
		"one PC among servers": {
			append(members("10.0.1.%d:1", peer.AlwaysOn, 9, 9), members("10.0.1.2%d:1", peer.Office, 1, 1)...), nil, "others of 1: not told",
		},
		"servers have no owners": {members("10.0.1.%d:1", peer.AlwaysOn, 2, 2), nil, "others of 1: 2 of 2, 8 cores"},
		"many servers":           {members("10.0.1.%d:1", peer.AlwaysOn, 5, 3), []string{"10.0.1.0/24: 3 of 5, 12 cores"}, "<nil>"},
		"no address":             {members("nowhere", peer.AlwaysOn, 5, 3), []string{"unknown: 3 of 5, 12 cores"}, "<nil>"},
		"IPv4 in IPv6":           {members("[::ffff:10.0.1.%d]:1", peer.AlwaysOn, 5, 3), []string{"10.0.1.0/24: 3 of 5, 12 cores"}, "<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			all, groups, others := groupsOf(c.members)
			var got []string
			for _, g := range groups {
				got = append(got, groupText(g, ""))
			}
			rest := "<nil>"
			if others != nil {
				rest = groupText(*others, fmt.Sprintf(" of %d", others.Subnets))
			}
			if fmt.Sprint(got) != fmt.Sprint(c.groups) || rest != c.others || all.Agents != len(c.members) {
				t.Errorf("%d in %q and %s", all.Agents, got, rest)
			}
		})
	}
}

func groupText(g group, of string) string {
	if g.Few {
		return g.Name + of + ": not told"
	}
	return fmt.Sprintf("%s%s: %d of %d, %d cores", g.Name, of, g.Offering, g.Agents, g.Cores)
}

// TestGroupsTellOfNobody: whatever the pool, no line tells how many of one to four machines with owners offer cores, and
// no agent is lost or counted twice.
func TestGroupsTellOfNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var pool []peer.Member
		for range rapid.IntRange(0, 60).Draw(t, "agents") {
			subnet, class := rapid.IntRange(0, 6).Draw(t, "subnet"), peer.Class(rapid.IntRange(1, 3).Draw(t, "class"))
			pool = append(pool, peer.Member{
				Role: peer.Agent, Class: class, Cores: rapid.IntRange(0, 3).Draw(t, "cores"), Address: fmt.Sprintf("10.0.%d.1:1", subnet),
			})
		}
		all, groups, others := groupsOf(pool)
		if others != nil {
			groups = append(groups, *others)
		}
		var sum group
		for _, g := range groups {
			owned := g.Office + g.Laptop
			if owned > 0 && owned < groupOf && !g.Few || g.Name != "others" && g.Agents < groupOf {
				t.Errorf("%+v is shown", g)
			}
			sum.add(g)
		}
		if sum.Agents != len(pool) || sum.Agents != all.Agents || sum.Offering != all.Offering || sum.Cores != all.Cores {
			t.Errorf("%+v in groups, %+v in all, of %d", sum, all, len(pool))
		}
	})
}

// poolGrid has six PCs in one subnet, and one in another.
func poolGrid() *fakeGrid {
	f := some()
	f.members = append(members("10.0.1.%d:7745", peer.Office, 6, 2), members("10.0.9.%d:7745", peer.Laptop, 1, 1)...)
	f.members[1].Draining, f.members[2].Reachable = true, false
	f.members = append(f.members, peer.Member{Role: peer.Coordinator, Address: "10.0.0.1:7745", Reachable: true})
	return f
}

func TestPool(t *testing.T) {
	f := poolGrid()
	p := newPage(t, f, nil)
	one := f.members[0]
	logIn(t, p, submitter()).sees("/pool", []string{"10.0.1.0/24", "2 of 6", "others", "not told"}, one.ID.Short(), "10.0.1.1", "10.0.9", "Machines</h2>", "/machines")
	o := logIn(t, p, operator())
	o.sees("/pool", []string{"2 of 6", one.ID.Short(), "10.0.1.1:7745", "draining", "unreachable", "10.0.9.1:7745", "7 machines"}, "10.0.0.1:7745")
	o.sees("/pool?q=10.0.9", []string{"10.0.9.1:7745", "1 machine<"}, "10.0.1.1:7745")
	o.sees("/pool?q=laptop", []string{"10.0.9.1:7745"}, "10.0.1.1:7745")
	o.sees("/pool?q="+one.ID.String()[:10], []string{"10.0.1.1:7745"}, "10.0.9.1:7745")
	o.sees("/pool?q=%3Cscript%3E", []string{"No machine is like that", "&lt;script&gt;"}, "<script>\"")
	if len(f.looked) > 0 {
		t.Errorf("the list alone asked %q", f.looked)
	}
	f.members = nil
	logIn(t, p, operator()).sees("/pool", []string{"No agent is here."})
}

// TestMachine: an operator, with a button, and by name.
func TestMachine(t *testing.T) {
	f := poolGrid()
	p := newPage(t, f, nil)
	id := f.members[0].ID.String()
	f.machine = Machine{
		Build: "v1 " + hostile, CertificateEnds: time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC), ClockAhead: -90 * time.Second, ClockOff: true,
		Blobs: 12, BlobBytes: 3 << 20, Draining: hostile, Unreachable: hostile,
	}
	o := logIn(t, p, operator())
	w := o.post("/machines", url.Values{"form": {o.form()}, "id": {id}})
	if w.Code != http.StatusOK || fmt.Sprint(f.looked) != "["+f.members[0].ID.Short()+" operator olga, key "+olga.Short()+"]" {
		t.Errorf("%d, looked %q", w.Code, f.looked)
	}
	check(t, "the machine", w.Body.String(), []string{
		"operator olga looked", "v1 &lt;script&gt;", "1 Dec 2026 12:00", "1m30s behind others", "12 blobs, 3 MiB", "It takes nothing: &lt;script&gt;", "Nobody can dial it: &lt;",
	}, "<script>alert")

	f.looked = nil
	s := logIn(t, p, submitter())
	for what, c := range map[string]struct {
		got  int
		want int
	}{
		"a submitter":     {s.post("/machines", url.Values{"form": {s.form()}, "id": {id}}).Code, http.StatusForbidden},
		"no word":         {o.post("/machines", url.Values{"id": {id}}).Code, http.StatusForbidden},
		"another's word":  {o.post("/machines", url.Values{"form": {s.form()}, "id": {id}}).Code, http.StatusForbidden},
		"by GET":          {o.get("/machines?form=" + o.form() + "&id=" + id).Code, http.StatusNotFound},
		"no machine":      {o.post("/machines", url.Values{"form": {o.form()}, "id": {strings.Repeat("00", 32)}}).Code, http.StatusNotFound},
		"half an ID":      {o.post("/machines", url.Values{"form": {o.form()}, "id": {"00"}}).Code, http.StatusBadRequest},
		"the coordinator": {o.post("/machines", url.Values{"form": {o.form()}, "id": {f.members[7].ID.String()}}).Code, http.StatusNotFound},
	} {
		if c.got != c.want || len(f.looked) > 0 {
			t.Errorf("%s: %d, expected %d; looked %q", what, c.got, c.want, f.looked)
		}
	}
	f.fails = jobs.Errorf(jobs.Unavailable, "it is off")
	if w := o.post("/machines", url.Values{"form": {o.form()}, "id": {id}}); w.Code != http.StatusServiceUnavailable {
		t.Errorf("a machine that is off: %d", w.Code)
	}
}

// inspect is what a fake grid says of a machine.
func (f *fakeGrid) inspect(_ context.Context, m peer.Member, viewer string) (Machine, error) {
	f.looked = append(f.looked, m.ID.Short()+" "+viewer)
	return f.machine, f.fails
}
