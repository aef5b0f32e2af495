package agent

import (
	"fmt"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Hooks tell of what happens on this machine, for its owner's history. None may block; each may be nil. Moved and Looked
// are called by many at once.
type Hooks struct {
	Ran func(Ended) // a unit ended here
	// Moved counts the bytes of a job's blobs that came here to run its units, and of checkpoints that were made of them.
	Moved func(job records.Job, in, out int64)
	Over  func(jobs.JobID) // a job was cancelled or sealed, or is past its time; of one it may be told more than once
	// Looked: a submitter or an operator reads something of this agent. Who says role, owner and key, and what is in words.
	Looked func(who, what string)
}

// readings are the methods by which people read something of an agent, in words for its owner. What they only give it
// is none.
func readings() map[string]string {
	return map[string]string{
		gridv1.Members_List_FullMethodName:    "who is in the pool",
		gridv1.Records_Pull_FullMethodName:    "what is reported of jobs",
		gridv1.Steward_Summary_FullMethodName: "how far a job is, and who runs it",
		gridv1.Blobs_Get_FullMethodName:       "files of a job that are kept here",
		gridv1.Blobs_Have_FullMethodName:      "which files of a job are kept here",
	}
}

// onCall hears of every call that may be made here. Those of agents and of the coordinator are in the course of work.
func (a *Agent) onCall(who identity.Caller, method string) {
	if a.o.Hooks.Looked == nil || who.Role != peer.Submitter && who.Role != peer.Operator {
		return
	}
	what, reads := readings()[method]
	if !reads {
		return
	}
	name := fmt.Sprintf("%s %s, key %s", who.Role, who.Owner, who.ID.Short())
	if who.Owner == who.ID.String() { // it was given none
		name = fmt.Sprintf("%s with key %s", who.Role, who.ID.Short())
	}
	a.o.Hooks.Looked(name, what)
}

// onForget hears of jobs that are past their time, or ended a while ago.
func (a *Agent) onForget(ended []jobs.JobID) {
	a.steward.Sweep()
	for _, job := range ended {
		a.over(job)
	}
}

func (a *Agent) over(job jobs.JobID) {
	if a.o.Hooks.Over != nil {
		a.o.Hooks.Over(job)
	}
}
