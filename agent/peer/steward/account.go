package steward

import (
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxAccount bounds the hours of a shard's account: those of the longest life of a job, and those before and after in
// which a ledger counts.
const maxAccount = int(manifest.MaxKeep/time.Hour) + 4

// SpendToProto returns a spend as the protocol has it.
func SpendToProto(s ledger.Spend) *gridv1.Spend {
	return &gridv1.Spend{
		UsefulUs: s.CPU[ledger.UsefulCPU], RepeatedUs: s.CPU[ledger.RepeatedCPU], FailedUs: s.CPU[ledger.FailedCPU],
		LostUs: s.CPU[ledger.LostCPU], OverheadUs: s.CPU[ledger.OverheadCPU],
		AcceptedRuns: s.Runs[ledger.UsefulCPU], RepeatedRuns: s.Runs[ledger.RepeatedCPU], FailedRuns: s.Runs[ledger.FailedCPU],
	}
}

// SpendFromProto reads a spend; nil is nothing.
func SpendFromProto(p *gridv1.Spend) ledger.Spend {
	return ledger.Spend{
		CPU: [ledger.Uses]uint64{
			ledger.UsefulCPU: p.GetUsefulUs(), ledger.RepeatedCPU: p.GetRepeatedUs(), ledger.FailedCPU: p.GetFailedUs(),
			ledger.LostCPU: p.GetLostUs(), ledger.OverheadCPU: p.GetOverheadUs(),
		},
		Runs: [ledger.Uses]uint64{
			ledger.UsefulCPU: p.GetAcceptedRuns(), ledger.RepeatedCPU: p.GetRepeatedRuns(), ledger.FailedCPU: p.GetFailedRuns(),
		},
	}
}

// AccountToProto returns an account as the protocol has it.
func AccountToProto(account []ledger.HourSpend) []*gridv1.HourlySpend {
	out := make([]*gridv1.HourlySpend, len(account))
	for i, h := range account {
		out[i] = &gridv1.HourlySpend{Hour: h.Hour, Spend: SpendToProto(h.Spend)}
	}
	return out
}

// AccountFromProto reads an account, which is not nil then. One that is longer than any job's is an error of kind
// jobs.Invalid.
func AccountFromProto(account []*gridv1.HourlySpend) ([]ledger.HourSpend, error) {
	if n := len(account); n > maxAccount {
		return nil, jobs.Errorf(jobs.Invalid, "account of %d hours, expected at most %d", n, maxAccount)
	}
	out := make([]ledger.HourSpend, 0, len(account))
	for _, h := range account {
		out = append(out, ledger.HourSpend{Hour: h.GetHour(), Spend: SpendFromProto(h.GetSpend())})
	}
	return out, nil
}
