package gridtest_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// word is what a person says of a job.
func word(j *gridtest.Job, typ string, by *gridtest.User) records.Offer {
	c := record.Cancel{Job: j.ID} // a seal's payload is the same
	return records.Offer{
		Record: records.Record{Envelope: record.Sign(typ, c.Encode(), by.Identity.Key)},
		Chains: [][][]byte{by.Identity.Chain},
	}
}

// push has a person say it to a machine, as gridctl does.
func push(t *testing.T, by *gridtest.User, to *gridtest.Machine, o records.Offer) {
	t.Helper()
	conn, err := by.Conn(to)
	if err != nil {
		t.Fatal(err)
	}
	refused, err := records.Push(context.Background(), conn, []records.Offer{o}, false)
	if err != nil || len(refused) > 0 {
		t.Fatalf("%s refuses: %v, %v", to.IP, refused, err)
	}
}

// TestP5EndSpreadsAtOnce pushes a cancel or seal to one steward only: within two seconds no unit of the job runs
// anywhere, and none starts any more.
func TestP5EndSpreadsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name, typ string
		role      peer.Role
		steward   int
	}{
		{"cancel by the submitter at the first steward", record.TypeCancel, peer.Submitter, 0},
		{"cancel by an operator at the last steward", record.TypeCancel, peer.Operator, 2},
		{"seal at the second steward", record.TypeSeal, peer.Submitter, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			gridtest.Run(t, 6, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(10 * time.Minute))
				j := g.Submit(1000)
				slots := 6 * gridtest.Slots
				g.Eventually(time.Minute, "all slots are at work", func() bool { return g.Running() == slots })
				time.Sleep(90 * time.Second)
				by := g.User
				if c.role == peer.Operator {
					by = g.NewUser(peer.Operator, "it")
				}
				push(t, by, g.Coordinator.Stewards(j)[c.steward], word(j, c.typ, by))
				took := g.Eventually(2*time.Second, "no unit runs", func() bool { return g.Running() == 0 })
				t.Logf("the last unit stopped %s after the push", took)
				time.Sleep(15 * time.Minute)
				if n := g.Started(); n > slots {
					t.Errorf("%d units were started afterwards", n-slots)
				}
				for _, m := range append(g.Agents, g.Coordinator) {
					if n := j.Counts(m); n.Open != 0 || n.Dead+n.Sealed != 1000 || (n.Sealed > 0) != (c.typ == record.TypeSeal) {
						t.Errorf("%s counts %+v", m.IP, n)
					}
				}
			})
		})
	}
}

// TestP5EndedBlobsGo: what a job has on disk is gone an hour after it was cancelled or sealed and not before, also
// at the coordinator; its records stay, late reports too.
func TestP5EndedBlobsGo(t *testing.T) {
	for _, typ := range []string{record.TypeCancel, record.TypeSeal} {
		t.Run(typ, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				j, other := g.Submit(20), g.Submit(20)
				j.Await(time.Minute)
				other.Await(time.Minute)
				push(t, g.User, g.Agents[0], word(j, typ, g.User))
				all := slices.Concat(g.Agents, []*gridtest.Machine{g.Coordinator})
				time.Sleep(55 * time.Minute)
				for _, m := range all {
					if !holds(m, j) {
						t.Errorf("%s has freed the blobs before the hour is over", m.IP)
					}
				}
				reports := len(g.Agents[0].Node().Store.OwnShards())
				time.Sleep(25 * time.Minute)
				for _, m := range all {
					if holds(m, j) || !holds(m, other) {
						t.Errorf("%s holds blobs of the job: %v, of the other: %v", m.IP, holds(m, j), holds(m, other))
					}
					if c := j.Counts(m); c.Dead+c.Sealed != 20 {
						t.Errorf("%s counts %+v", m.IP, c)
					}
				}
				if n := len(g.Agents[0].Node().Store.OwnShards()); n != reports || n == 0 {
					t.Errorf("reports of %d shards are left, expected %d", n, reports)
				}
				other.Complete()
			})
		})
	}
}

func holds(m *gridtest.Machine, j *gridtest.Job) bool {
	for _, b := range m.Node().Blobs.List() {
		if slices.Contains(b.Jobs(), j.ID) {
			return true
		}
	}
	return false
}

// TestP5Away switches an agent off for ten minutes in which a job is cancelled, or expires: it starts no unit of
// that job when it is back, whether it stewards the job or not. Of a job that goes on it does.
func TestP5Away(t *testing.T) {
	for _, c := range []struct {
		name    string
		ends    string
		steward bool
	}{
		{"bystander, goes on", "", false},
		{"bystander, cancelled", "cancelled", false},
		{"first steward, cancelled", "cancelled", true},
		{"first steward, expired", "expired", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			gridtest.Run(t, 5, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(20 * time.Second))
				j := g.Submit(100_000, func(m *manifest.Manifest) {
					if c.ends == "expired" {
						m.Expires = m.Created.Add(10 * time.Minute)
					}
				})
				time.Sleep(30 * time.Second)
				stewards := g.Coordinator.Stewards(j)
				away := stewards[0]
				if !c.steward {
					away = g.Agents[slices.IndexFunc(g.Agents, func(m *gridtest.Machine) bool { return !slices.Contains(stewards, m) })]
				}
				away.Cut()
				time.Sleep(5 * time.Minute)
				if c.ends == "cancelled" {
					push(t, g.User, stewards[1], word(j, record.TypeCancel, g.User))
				}
				time.Sleep(5 * time.Minute)
				before, started := j.RanOn(away), g.Started()
				if before == 0 {
					t.Fatal("it has run nothing before")
				}
				away.Start()
				time.Sleep(5 * time.Minute)
				if n := j.RanOn(away) - before; (n > 0) != (c.ends == "") {
					t.Errorf("%d units ran after it was back", n)
				}
				if n := g.Started() - started; c.ends != "" && n > 0 {
					t.Errorf("%d units were started after it was back", n)
				}
			})
		})
	}
}

// TestP5ExpiryEndsUnits: units that run when their job expires end at that moment, and no other starts.
func TestP5ExpiryEndsUnits(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(40 * time.Minute))
		j := g.Submit(100, func(m *manifest.Manifest) { m.Expires = m.Created.Add(30 * time.Minute) })
		time.Sleep(time.Until(j.Manifest.Expires))
		slots := 3 * gridtest.Slots
		if n := g.Running(); n != slots {
			t.Fatalf("%d units run just before the job expires", n)
		}
		g.Eventually(time.Second, "no unit runs", func() bool { return g.Running() == 0 })
		time.Sleep(time.Hour)
		if n := g.Started(); n != slots {
			t.Errorf("%d units were started, expected %d", n, slots)
		}
	})
}

// keys are what a backup of a coordinator needs.
var keys = []string{"key.pem", "issuing.pem", "root.pem"}

// TestP7CoordinatorFromItsKeys wipes the coordinator's disk but for its keys while a job runs and another is done:
// both go on without it, and two minutes after it is back it knows all that the agents know, admits another job,
// and lets another agent in.
func TestP7CoordinatorFromItsKeys(t *testing.T) {
	for _, c := range []struct {
		name  string
		moved bool
	}{{"at its address", false}, {"at another address", true}} {
		t.Run(c.name, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Second))
				done, sealed := g.Submit(30), g.Submit(30)
				done.Await(time.Minute)
				sealed.Await(time.Minute)
				push(t, g.User, g.Agents[0], word(sealed, record.TypeSeal, g.User))
				g.Work(gridtest.Takes(5 * time.Second))
				running := g.Submit(1000)
				time.Sleep(10 * time.Second)
				id := g.Coordinator.Node().ID()
				g.Coordinator.Cut()
				g.Coordinator.Wipe(keys...)
				time.Sleep(10 * time.Minute)
				if c.moved {
					g.Coordinator.Move()
					g.Coordinator.Join = []string{g.Agents[1].Node().Address()}
				}
				begun, accepted := time.Now(), running.Accepted()
				if accepted == 0 {
					t.Error("the job did not go on")
				}
				g.Coordinator.Start()
				if n := len(g.Coordinator.Node().Store.Jobs(false)); n != 0 || g.Coordinator.Node().ID() != id {
					t.Errorf("it knows %d jobs, or is somebody else", n)
				}
				g.Eventually(2*time.Minute, "the coordinator knows what the agents know", func() bool {
					s := g.Coordinator.Node().Store
					return len(s.Jobs(false)) == 3 && len(s.Jobs(true)) == 2 && s.Digest(records.Scope{}) == g.Agents[0].Node().Store.Digest(records.Scope{})
				})
				t.Logf("manifests and seal were back after %s", time.Since(begun))
				g.AwaitPool(3)
				g.NewUser(peer.Submitter, "bob").Submit(30).Await(time.Minute)
				g.Add(peer.AlwaysOn).Start()
				g.AwaitPool(4)
				running.Await(time.Hour)
				running.Each(1, 1)
				running.Complete()
			})
		})
	}
}

// TestP7AgentFromABackup puts an agent's folder back as it was before it ran half of a job: the pool shows the new
// one, nothing that it said before is lost or said twice with other words, and the job completes.
func TestP7AgentFromABackup(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		backup := g.Agents[0].Clone()
		j := g.Submit(300)
		time.Sleep(20 * time.Second)
		said := j.Acknowledged()
		if len(said) == 0 {
			t.Fatal("nothing was reported before")
		}
		old := g.Agents[0].Node().Address()
		g.Agents[0].Cut()
		time.Sleep(5 * time.Second) // the pool still shows the old one
		backup.Start()
		g.Eventually(time.Minute, "all see it at its new address", func() bool {
			return !slices.ContainsFunc(append(g.On(), g.Coordinator), func(m *gridtest.Machine) bool {
				seen, ok := m.Node().Member(backup.Node().ID())
				return !ok || seen.Address == old
			})
		})
		j.Await(10 * time.Minute)
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		if n := j.Missing(said); n > 0 {
			t.Errorf("%d reports are missing", n)
		}
		if c := j.Counts(g.Agents[1]); c.Accepted != 300 || c.Differs != 0 {
			t.Errorf("counts %+v", c)
		}
		j.Complete()
	})
}

// TestP7TokensOfBefore: whether a token of before the disk was lost was used is not known, so it is void; those made
// afterwards are good.
func TestP7TokensOfBefore(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		spec := identity.TokenSpec{Grant: identity.Grant{Role: peer.Operator, Owner: "it"}, TTL: time.Hour}
		old := g.Token(spec)
		if err := g.Redeem(old); err != nil {
			t.Fatal(err)
		}
		g.Coordinator.Cut()
		g.Coordinator.Wipe(keys...)
		time.Sleep(time.Minute)
		g.Coordinator.Start()
		if err := g.Redeem(old); jobs.KindOf(err) != jobs.Denied || jobs.HintOf(err) == "" {
			t.Errorf("a token that was used before: %v", err)
		}
		young := g.Token(spec)
		if err := g.Redeem(young); err != nil {
			t.Errorf("a token that was made after: %v", err)
		}
		if err := g.Redeem(young); jobs.KindOf(err) != jobs.Denied {
			t.Errorf("a token that was used twice: %v", err)
		}
	})
}

// TestReissue replaces the issuing key of a grid that runs: the coordinator is taken back by agents whose
// certificates are by the old key, they see newcomers with certificates by the new one, and a job completes.
func TestReissue(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		before := g.Coordinator.Node().Identity().Issuer()
		g.Coordinator.Stop()
		g.Reissue()
		time.Sleep(5 * time.Minute)
		g.Coordinator.Start()
		if g.Coordinator.Node().Identity().Issuer().Equal(before) || !g.Agents[0].Node().Identity().Issuer().Equal(before) {
			t.Fatal("the coordinator is certified by the old key, or the agents by the new one")
		}
		g.AwaitPool(3)
		young := g.Add(peer.AlwaysOn)
		young.Start()
		g.Eventually(10*time.Second, "the young agent sees the old ones", func() bool { return young.Eligible() == 4 })
		g.AwaitPool(4)
		g.Eventually(3*time.Minute, "all see all", func() bool {
			return !slices.ContainsFunc(g.Agents, func(m *gridtest.Machine) bool { return len(m.Node().Members()) != 5 })
		})
		j := g.Submit(200)
		j.Await(5 * time.Minute)
		j.Complete()
	})
}
