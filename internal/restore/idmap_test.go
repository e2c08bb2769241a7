package restore

import (
	"testing"

	"github.com/vappvault/vappvault/internal/plan"
	"github.com/vappvault/vappvault/internal/restorepoint"
)

func TestImportBlocksNameWhatTheRestoreBrought(t *testing.T) {
	result := func(name string, alone bool) *Result {
		return &Result{
			Plan:   &plan.Plan{Org: restorepoint.Ref{Name: "acme"}, VDC: restorepoint.Ref{Name: "vdc1"}, Standalone: alone},
			VAppID: "urn:vcloud:vapp:1", VAppName: name, VMs: []VMResult{{Name: "db 01", NewID: "urn:vcloud:vm:2"}},
		}
	}
	shop := result(`shop "${x}"`, false)
	shop.Networks = []NetworkResult{{Name: "lan"}, {Name: "wan", Direct: true}}
	shop.Disks = []DiskResult{{Name: "data", NewID: "urn:vcloud:disk:3"}, {Name: "data", NewID: "urn:vcloud:disk:4"}}
	const want = `import {
  to = vcd_vapp.shop____x__
  id = "acme.vdc1.shop \"$${x}\""
}

import {
  to = vcd_vapp_network.shop____x___lan
  id = "acme.vdc1.shop \"$${x}\".lan"
}

import {
  to = vcd_vapp_org_network.shop____x___wan
  id = "acme.vdc1.shop \"$${x}\".wan"
}

import {
  to = vcd_vapp_vm.shop____x___db_01
  id = "acme.vdc1.shop \"$${x}\".db 01"
}

import {
  to = vcd_independent_disk.data
  id = "acme.vdc1.urn:vcloud:disk:3"
}

import {
  to = vcd_independent_disk.data_2
  id = "acme.vdc1.urn:vcloud:disk:4"
}
`
	if got := IDs([]*Result{shop, nil, {Plan: &plan.Plan{}}}).Terraform(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	const dotted = `# Names hold a dot: set import_separator = "|" in provider "vcd".

import {
  to = vcd_vm.db_01
  id = "acme|vdc1|urn:vcloud:vm:2"
}
`
	if got := IDs([]*Result{result("jump.host", true)}).Terraform(); got != dotted {
		t.Errorf("got\n%s\nwant\n%s", got, dotted)
	}
}
