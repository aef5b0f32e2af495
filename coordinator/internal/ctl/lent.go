package ctl

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// lentUnits returns the first units that agents have of a job now, as the first steward that answers says of each shard.
func (g *grid) lentUnits(ctx context.Context, job records.Job) (list []*gridv1.LentUnit) {
	for n := uint32(0); n < min(job.Manifest.Shards(), maxShards) && len(list) < steward.MaxLentUnits; n++ {
		shard := jobs.ShardID{Job: job.ID, Shard: n}
		for _, m := range peer.Stewards(shard, g.members) {
			var reply *gridv1.SummaryReply
			err := g.call(ctx, m, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				most := uint32(steward.MaxLentUnits - len(list))
				reply, err = gridv1.NewStewardClient(conn).Summary(ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(shard), LentUnits: most})
				return err
			})
			if err == nil { // else the next one lends
				list = append(list, reply.GetLentUnits()[:min(len(reply.GetLentUnits()), steward.MaxLentUnits-len(list))]...)
				break
			}
		}
	}
	return list
}

// lentRows is a table of units that agents have. Where a job keeps no checkpoints it says nothing of them.
func lentRows(list []*gridv1.LentUnit, saves bool) [][]string {
	rows := [][]string{{"UNIT", "AGENT", "CHECKPOINT", "AT CPU", "SIZE"}}
	for _, u := range list {
		agent := "-"
		if id, err := jobs.KeyIDFromBytes(u.GetAgent()); err == nil {
			agent = id.Short()
		}
		row := []string{fmt.Sprint(u.GetUnit()), agent, "-", "-", "-"}
		switch {
		case u.SavedAgeMs != nil:
			const most = uint64(1<<63-1) / uint64(time.Millisecond)
			row[2] = program.For(time.Duration(min(u.GetSavedAgeMs(), most))*time.Millisecond) + " ago"
			row[3] = cpuText(float64(u.GetSavedCpuUs()) / 1e6)
			row[4] = bytesText(u.GetSavedBytes())
		case saves:
			row[2] = "none yet"
		}
		rows = append(rows, row)
	}
	return rows
}
