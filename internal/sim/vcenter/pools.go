package vcenter

import (
	"sync"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// poolTemplate guards the summary that vcsim gives to every resource pool of
// every vcsim in the process, with the name of the pool that was made last.
var poolTemplate sync.Mutex

// CreateResourcePool makes a resource pool with a summary of its own.
func (p *resourcePool) CreateResourcePool(ctx *simulator.Context, req *types.CreateResourcePool) soap.HasFault {
	return createPool(ctx, p.ResourcePool, req)
}

func createPool(ctx *simulator.Context, parent *simulator.ResourcePool, req *types.CreateResourcePool) soap.HasFault {
	poolTemplate.Lock()
	defer poolTemplate.Unlock()
	res := parent.CreateResourcePool(ctx, req)
	if body, ok := res.(*methods.CreateResourcePoolBody); ok && body.Res != nil {
		if made, ok := ctx.Map.Get(body.Res.Returnval).(*simulator.ResourcePool); ok {
			ownSummary(made)
		}
	}
	return res
}

// ownSummary gives a pool a summary that no other has.
func ownSummary(pool *simulator.ResourcePool) {
	if shared, ok := pool.Summary.(*types.ResourcePoolSummary); ok {
		own := *shared
		own.Name = pool.Name
		pool.Summary = &own
	}
}
