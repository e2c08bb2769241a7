package vcd

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestFilterTakesNothingForSyntax(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"web":            `name==web`,
		"VM,1":           `name==VM\,1`,
		"a;b":            `name==a\;b`,
		"x (old)":        `name==x \(old\)`,
		`c:\temp`:        `name==c:\\temp`,
		`"quoted" 'too'`: `name=="quoted" 'too'`,
		"Büro 🍏/α&β=%2F": `name==Büro 🍏/α&β=%2F`,
		"web*":           `name==web*`,
	} {
		if got := Filter("name==", value); got != want {
			t.Errorf("Filter(%q) = %s, want %s", value, got, want)
		}
	}
	if got, want := FilterMetadata("cost;centre", "R,D"), `metadata:cost\;centre==STRING:R\,D`; got != want {
		t.Errorf("FilterMetadata() = %s, want %s", got, want)
	}
}

func TestFilterTravelsPercentEncoded(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	f.xml("/api/query", `<QueryResultRecords total="0" page="1" pageSize="128"/>`)
	c := f.connect(t)
	filter := Filter("name==", "a;b, (ü) 🍏+&%/") + ";" + Filter("vdc==", "https://h/api/vdc/1")
	for _, err := range c.Query(t.Context(), "adminVApp", filter) {
		t.Fatal(err)
	}
	_, query, _ := strings.Cut(f.seen()[0], "?")
	if strings.ContainsAny(query, ";+ ") {
		t.Errorf("bare characters in %s", query)
	}
	values, err := url.ParseQuery(query)
	if err != nil || values.Get("filter") != filter || values.Get("type") != "adminVApp" || values.Get("format") != "records" {
		t.Errorf("%s reads %q (%v), want %q", query, values.Get("filter"), err, filter)
	}
}

// pages answers queries with pages of numbers; a page may differ each time.
func pages(f *fakeSite, answer func(page, request int) (total int, next bool, ids []int)) {
	n := 0
	f.mux.HandleFunc("/api/query", func(w http.ResponseWriter, r *http.Request) {
		n++
		page, _ := strconv.Atoi(r.URL.Query().Get("page"))
		total, next, ids := answer(page, n)
		body := fmt.Sprintf(`<ns2:QueryResultRecords xmlns:ns2="http://www.vmware.com/vcloud/v1.5" total="%d" pageSize="2" page="%d">`, total, page)
		if next {
			body += `<ns2:Link rel="nextPage" href="https://h/api/query?page=9"/>`
		}
		for _, id := range ids {
			body += fmt.Sprintf(`<ns2:TaskRecord href="https://h/api/task/%d" name="%d"><ns2:Link rel="nextPage"/></ns2:TaskRecord>`, id, id)
		}
		writeXML(w, body+`</ns2:QueryResultRecords>`)
	})
}

func TestPaging(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		answer   func(page, request int) (int, bool, []int)
		want     []string
		requests int
		short    bool
	}{
		{"links lead from page to page", func(page, _ int) (int, bool, []int) {
			return 5, page < 3, [][]int{{1, 2}, {3, 4}, {5}}[page-1]
		}, []string{"1", "2", "3", "4", "5"}, 3, false},
		{"a total alone does too, over full pages", func(page, _ int) (int, bool, []int) {
			return 3, false, [][]int{{1, 2}, {3}}[page-1]
		}, []string{"1", "2", "3"}, 2, false},
		{"a total that counts too much ends on an empty page", func(page, _ int) (int, bool, []int) {
			return 99, false, [][]int{{1, 2}, nil}[page-1]
		}, []string{"1", "2"}, 6, true},
		{"a total that counts too much ends on a short page", func(page, _ int) (int, bool, []int) {
			return 99, false, [][]int{{1, 2}, {3}}[page-1]
		}, []string{"1", "2", "3"}, 6, true},
		{"a link that leads in circles ends", func(_, _ int) (int, bool, []int) {
			return 99, true, []int{1, 2}
		}, []string{"1", "2"}, 6, true},
		{"a page that was short is read again", func(page, request int) (int, bool, []int) {
			if request == 1 {
				return 4, true, []int{1}
			}
			return 4, page < 2, [][]int{{1, 2}, {3, 4}}[page-1]
		}, []string{"1", "3", "4", "2"}, 4, false},
		{"a record on two pages comes once", func(page, _ int) (int, bool, []int) {
			return 3, page < 2, [][]int{{1, 2}, {2, 3}}[page-1]
		}, []string{"1", "2", "3"}, 2, false},
		{"a record that slipped past is found when the total shrank", func(page, request int) (int, bool, []int) {
			if request == 1 {
				return 4, true, []int{1, 2}
			} // 1 is deleted now, 3 slips onto page 1
			return 3, page < 2, [][]int{{2, 3}, {4}}[page-1]
		}, []string{"1", "2", "4", "3"}, 4, false},
		{"a record that was made on a page already read is found", func(page, request int) (int, bool, []int) {
			switch request {
			case 1:
				return 3, true, []int{2, 3}
			case 2: // 1 was made
				return 4, false, []int{3, 4}
			}
			return 4, page < 2, [][]int{{1, 2}, {3, 4}}[page-1]
		}, []string{"2", "3", "4", "1"}, 4, false},
		{"one that is made while another goes is found", func(page, request int) (int, bool, []int) {
			switch request {
			case 1:
				return 4, true, []int{2, 3}
			case 2: // 1 was made, 5 deleted
				return 4, false, []int{3, 4}
			}
			return 4, page < 2, [][]int{{1, 2}, {3, 4}}[page-1]
		}, []string{"2", "3", "4", "1"}, 4, false},
		{"where records always come and go, nobody complains", func(page, request int) (int, bool, []int) {
			return 10 + request, page < 2, [][]int{{1, 2}, {3}}[page-1]
		}, []string{"1", "2", "3"}, 6, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFakeSite(t)
			pages(f, test.answer)
			c := f.connect(t)
			var got []string
			short := false
			for r, err := range c.Query(t.Context(), "task", "") {
				if errors.Is(err, ErrShort) {
					short = true
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, r.Attrs["name"])
			}
			if !slices.Equal(got, test.want) || len(f.seen()) != test.requests || short != test.short {
				t.Errorf("%v in %d requests, short %t, want %v in %d, %t", got, len(f.seen()), short, test.want, test.requests, test.short)
			}
		})
	}
}

func TestAQueryMayBeLeftEarly(t *testing.T) {
	t.Parallel()
	f := newFakeSite(t)
	pages(f, func(page, _ int) (int, bool, []int) { return 99, true, []int{2 * page, 2*page + 1} })
	n := 0
	for _, err := range f.connect(t).Query(t.Context(), "task", "") {
		if n++; err != nil || n == 3 {
			break
		}
	}
	if got := len(f.seen()); got != 2 {
		t.Errorf("%d pages, want 2", got)
	}
}

func TestInventory(t *testing.T) {
	t.Parallel()
	const h = "https://h/api/"
	answers := map[string]string{
		"organization": `<OrgRecord name="acme" displayName="ACME" isEnabled="true" href="` + h + `org/11111111-1111-1111-1111-111111111111"/>`,
		"adminOrgVdc":  `<AdminVdcRecord name="vdc1" orgName="acme" isEnabled="true" org="` + h + `org/11111111-1111-1111-1111-111111111111" href="` + h + `vdc/22222222-2222-2222-2222-222222222222"/>`,
		"adminVApp": `<AdminVAppRecord name="web" org="` + h + `org/11111111-1111-1111-1111-111111111111" vdc="` + h + `vdc/22222222-2222-2222-2222-222222222222" vdcName="vdc1"
			ownerName="jo" status="POWERED_ON" isInMaintenanceMode="true" isAutoNature="false" numberOfVMs="3" storageKB="12" href="` + h + `vApp/vapp-33333333-3333-3333-3333-333333333333"/>`,
		"adminVM": `<AdminVMRecord name="tpl" isVAppTemplate="true" href="` + h + `vAppTemplate/vm-44444444-4444-4444-4444-444444444440"/>
			<AdminVMRecord name="web01" isVAppTemplate="false" container="` + h + `vApp/vapp-33333333-3333-3333-3333-333333333333" containerName="web" moref="vm-42" numberOfCpus="2"
			vc="` + h + `admin/extension/vimServer/55555555-5555-5555-5555-555555555555" status="POWERED_ON" href="` + h + `vApp/vm-44444444-4444-4444-4444-444444444444"/>`,
		"adminUser": `<AdminUserRecord name="Jo" org="` + h + `org/99999999-9999-9999-9999-999999999999" href="` + h + `admin/user/66666666-6666-6666-6666-666666666660"/>
			<AdminUserRecord name="jo" org="` + h + `org/11111111-1111-1111-1111-111111111111" href="` + h + `admin/user/66666666-6666-6666-6666-666666666666"/>`,
		"adminTask": `<AdminTaskRecord name="vappDeploy" status="running" object="` + h + `vApp/vapp-33333333-3333-3333-3333-333333333333" objectName="web" startDate="2026-11-22T08:00:00.000Z" href="` + h + `task/77777777-7777-7777-7777-777777777777"/>
			<AdminTaskRecord name="vdcUpdate" status="queued" object="` + h + `vdc/22222222-2222-2222-2222-222222222222" href="` + h + `task/77777777-7777-7777-7777-777777777778"/>
			<AdminTaskRecord name="vappDeploy" status="success" object="` + h + `vApp/vapp-33333333-3333-3333-3333-333333333333" href="` + h + `task/77777777-7777-7777-7777-777777777779"/>`,
	}
	f := newFakeSite(t)
	f.mux.HandleFunc("/api/query", func(w http.ResponseWriter, r *http.Request) {
		writeXML(w, `<QueryResultRecords xmlns="http://www.vmware.com/vcloud/v1.5" total="1" page="1" pageSize="128">`+
			answers[r.URL.Query().Get("type")]+`</QueryResultRecords>`)
	})
	f.xml("/api/admin/extension/vimServerReferences", `<vmext:VMWVimServerReferences xmlns:vmext="e" xmlns="v"><vmext:VimServerReference
		name="vc1" href="https://h/api/admin/extension/vimServer/55555555-5555-5555-5555-555555555555"/></vmext:VMWVimServerReferences>`)
	f.xml("/api/admin/extension/vimServer/55555555-5555-5555-5555-555555555555",
		`<vmext:VimServer xmlns:vmext="e" name="vc1"><vmext:Url>https://vc1:443</vmext:Url><vmext:Uuid>abc</vmext:Uuid></vmext:VimServer>`)
	c := f.connect(t)
	ctx := t.Context()

	org, vdc := "urn:vcloud:org:11111111-1111-1111-1111-111111111111", "urn:vcloud:vdc:22222222-2222-2222-2222-222222222222"
	vapp := "urn:vcloud:vapp:33333333-3333-3333-3333-333333333333"
	if got := must[[]OrgRef](t)(c.Orgs(ctx)); len(got) != 1 || got[0].ID != org || got[0].DisplayName != "ACME" {
		t.Errorf("Orgs() = %+v", got)
	}
	if got := must[[]VDCRef](t)(c.VDCs(ctx)); len(got) != 1 || got[0].ID != vdc || got[0].OrgID != org || got[0].OrgName != "acme" {
		t.Errorf("VDCs() = %+v", got)
	}
	want := VAppRef{
		ID: vapp, Name: "web", Href: h + "vApp/vapp-33333333-3333-3333-3333-333333333333", OrgID: org, OrgName: "acme",
		VDCID: vdc, VDCName: "vdc1", OwnerName: "jo", Status: "POWERED_ON", InMaintenance: true, VMCount: 3, StorageKB: 12,
	}
	if got := must[[]VAppRef](t)(c.VApps(ctx, "")); len(got) != 1 || got[0] != want {
		t.Errorf("VApps() = %+v, want %+v", got, want)
	}
	if got := must[[]VMRef](t)(c.VMs(ctx, "")); len(got) != 1 || got[0].MoRef != "vm-42" || got[0].VAppID != vapp ||
		got[0].VCenter != "urn:vcloud:vimserver:55555555-5555-5555-5555-555555555555" || got[0].NumCPU != 2 {
		t.Errorf("VMs() = %+v", got)
	}
	if got := must[UserRef](t)(c.UserByName(ctx, org, "jo")); got.ID != "urn:vcloud:user:66666666-6666-6666-6666-666666666666" {
		t.Errorf("UserByName() = %+v", got)
	}
	if got, err := c.UserByName(ctx, vdc, "jo"); err == nil {
		t.Errorf("UserByName() of another org = %+v", got)
	}
	if got := must[[]Task](t)(c.RunningTasks(ctx, vapp)); len(got) != 1 || got[0].OperationName != "vappDeploy" || got[0].Start.IsZero() {
		t.Errorf("RunningTasks(vapp) = %+v", got)
	}
	if got := must[[]Task](t)(c.RunningTasks(ctx)); len(got) != 2 {
		t.Errorf("RunningTasks() = %+v", got)
	}
	if got := must[[]VimServer](t)(c.VimServers(ctx)); len(got) != 1 || got[0].UUID != "abc" || got[0].URL != "https://vc1:443" {
		t.Errorf("VimServers() = %+v", got)
	}
}
