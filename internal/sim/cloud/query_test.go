package cloud

import (
	"context"
	"net/http"
	"testing"
)

// BenchmarkQuery reads pages as clients with many vApps do:
//
//	VCDSIM_VMS=30000 go test ./internal/sim/cloud -run - -bench Query
func BenchmarkQuery(b *testing.B) {
	vms := size(b)
	c, err := Start(Options{Inventory: generated(b, Generation{Orgs: vms/150 + 1, VApps: vms / 3, VMs: vms, Disk: 16 << 20}), Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	api, err := c.login(context.Background(), c.sites[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("save", func(b *testing.B) { // calls wait meanwhile
		for b.Loop() {
			if err := c.sites[0].director.Save(); err != nil {
				b.Fatal(err)
			}
		}
	})
	for _, typ := range []string{"vApp", "adminVApp", "vm", "adminVM"} {
		for _, q := range []struct{ name, query string }{
			{"first", ""}, {"name", "&sortAsc=name"}, {"status", "&sortDesc=status"}, {"filtered", "&filter=name==*a*"},
			{"running", "&filter=status==POWERED_ON"}, {"both", "&filter=isDeployed==true&sortAsc=name"},
		} {
			b.Run(typ+"/"+q.name, func(b *testing.B) {
				for b.Loop() {
					if _, err := api.do(context.Background(), http.MethodGet, api.base+"/api/query?type="+typ+"&format=records&pageSize=128"+q.query, "", ""); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
