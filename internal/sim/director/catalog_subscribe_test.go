package director_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/vappvault/vappvault/internal/sim/director"
)

// A library is a published catalog of acme and an organization that may follow
// it.
type library struct {
	*cloud
	shelf
	org      string // id of the follower
	location string
	ada, zoe *user
}

func newLibrary(t *testing.T) *library {
	c := newCloud(t, nil)
	l := &library{cloud: c, shelf: c.shelf()}
	l.org = must(c.dir.AddOrg(director.OrgSpec{Name: "reader", Subscribe: true}))(t)
	must(c.dir.AddUser(director.UserSpec{Org: "reader", Name: "zoe", Password: password, Role: director.RoleOrgAdmin}))(t)
	must(c.dir.AddVDC(director.VDCSpec{Org: "reader", Name: "vdc r", ResourcePool: "vdc1-pool", Fast: true, StorageProfiles: []director.StorageProfileSpec{{Name: "any"}}}))(t)
	l.ada, l.zoe = c.login("ada@acme"), c.login("zoe@reader")
	l.publish("true")
	path := textAt(l.ada.get("/api/admin/catalog/"+l.catalog), "./PublishExternalCatalogParams/catalogPublishedUrl")
	l.location = c.dir.URL().String() + path
	return l
}

func (l *library) publish(is string) {
	l.ada.want(http.StatusNoContent, http.MethodPost, "/api/admin/catalog/"+l.catalog+"/action/publishToExternalOrganizations",
		admin+"publishExternalCatalogParams+xml",
		`<PublishExternalCatalogParams `+vcd+`><IsPublishedExternally>`+is+`</IsPublishedExternally><Password>pw</Password></PublishExternalCatalogParams>`)
}

// follow makes a catalog that follows a location.
func (l *library) follow(u *user, org, name, location, secret, local string) *reply {
	return u.do(http.MethodPost, "/api/admin/org/"+org+"/catalogs", admin+"catalog+xml", `<AdminCatalog `+vcd+` name="`+name+`">`+
		`<ExternalCatalogSubscriptionParams><SubscribeToExternalFeeds>true</SubscribeToExternalFeeds><Location>`+location+`</Location>`+
		`<Password>`+secret+`</Password><LocalCopy>`+local+`</LocalCopy></ExternalCatalogSubscriptionParams></AdminCatalog>`)
}

// followed is the path of a catalog that follows, once its first synchronization is
// over.
func (l *library) followed(name, local string) string {
	l.t.Helper()
	r := l.follow(l.zoe, l.org, name, l.location, "pw", local)
	if r.status != http.StatusCreated {
		l.t.Fatalf("%d %s", r.status, r.body)
	}
	return strings.Replace(l.zoe.made(r).SelectAttrValue("href", ""), "/admin", "", 1)
}

func (l *library) status(kind, catalog string) string {
	l.t.Helper()
	r := l.zoe.get("/api/query?type=" + kind + "&filter=catalogName==" + catalog).ChildElements()
	for _, e := range r {
		if s := e.SelectAttrValue("status", ""); s != "" {
			return s
		}
	}
	return ""
}

func TestSubscriptionsThatAreRefused(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	for _, tc := range []struct{ name, location, secret, want string }{
		{"no URL", "nowhere", "pw", "UNKNOWN_ERROR"},
		{"of a host that is not there", "https://fake.example.com/vcsp/lib/" + l.catalog, "pw", "INVALID_URL_OR_PASSWORD"},
		{"of no catalog", strings.Replace(l.location, l.catalog, l.vdc, 1), "pw", "RESOURCE_NOT_FOUND"},
		{"with another password", l.location, "wrong", "INVALID_URL_OR_PASSWORD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := l.follow(l.zoe, l.org, "x", tc.location, tc.secret, "true")
			if r.status != http.StatusBadRequest || r.code() != tc.want || !strings.Contains(string(r.body), ": "+tc.want+`"`) {
				t.Errorf("got %d %s", r.status, r.body)
			}
		})
	}
	t.Run("by an organization that may not", func(t *testing.T) {
		if r := l.follow(l.ada, l.acme, "x", l.location, "pw", "true"); r.status != http.StatusBadRequest {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
	t.Run("of one that is published no more", func(t *testing.T) {
		path := l.followed("late", "false")
		l.publish("false")
		if task := l.zoe.task(http.MethodPost, path+"/action/sync", "", ""); task.SelectAttrValue("status", "") != "error" {
			t.Error(write(task))
		}
	})
	t.Run("publishing where the organization may not", func(t *testing.T) {
		path := l.ownCatalog(t)
		l.zoe.want(http.StatusBadRequest, http.MethodPost, path+"/action/publishToExternalOrganizations", admin+"publishExternalCatalogParams+xml",
			`<PublishExternalCatalogParams `+vcd+`><IsPublishedExternally>true</IsPublishedExternally></PublishExternalCatalogParams>`)
	})
}

// ownCatalog is a catalog of the follower's own.
func (l *library) ownCatalog(t *testing.T) string {
	r := l.zoe.want(http.StatusCreated, http.MethodPost, "/api/admin/org/"+l.org+"/catalogs", admin+"catalog+xml", `<AdminCatalog `+vcd+` name="own"/>`)
	return l.zoe.made(r).SelectAttrValue("href", "")
}

func TestSubscribedCatalogs(t *testing.T) {
	t.Parallel()
	l := newLibrary(t)
	full := l.followed("copy", "true")
	t.Run("a copy has all that the original has", func(t *testing.T) {
		k := l.zoe.get(full)
		if children(k, "./CatalogItems/CatalogItem") != 2 || l.status("vAppTemplate", "copy") != "RESOLVED" || l.status("media", "copy") != "RESOLVED" {
			t.Fatal(write(k))
		}
		a := l.zoe.get(strings.Replace(full, "/api/", "/api/admin/", 1))
		if textAt(a, "./ExternalCatalogSubscriptionParams/Password") != "******" || textAt(a, "./ExternalCatalogSubscriptionParams/LocalCopy") != "true" {
			t.Error(write(a))
		}
		if r := l.zoe.get("/api/query?type=catalog&filter=name==copy").FindElement("./CatalogRecord"); r.SelectAttrValue("publishSubscriptionType", "") != "SUBSCRIBED" {
			t.Error(write(r))
		}
		tpl := l.zoe.get(l.zoe.get("/api/query?type=vAppTemplate&filter=catalogName==copy").FindElement("./VAppTemplateRecord").SelectAttrValue("href", ""))
		if children(tpl, "./Children/Vm") != 2 {
			t.Error(write(tpl))
		}
		vm := strings.Replace(tpl.FindElement("./Children/Vm").SelectAttrValue("href", ""), l.dir.URL().String(), "", 1)
		if n := textAt(l.login(adminName).get(vm), chainPath); n != "1" {
			t.Errorf("its disks hang from the original's: chain %s", n)
		}
	})
	t.Run("nothing else comes into it, nothing goes", func(t *testing.T) {
		item := l.zoe.get(full).FindElement("./CatalogItems/CatalogItem").SelectAttrValue("href", "")
		l.zoe.want(http.StatusBadRequest, http.MethodPost, full+"/action/upload", cloudType+"uploadVAppTemplateParams+xml", `<UploadVAppTemplateParams `+vcd+` name="x"/>`)
		l.zoe.want(http.StatusBadRequest, http.MethodPost, full+"/action/copy", cloudType+"copyOrMoveCatalogItemParams+xml",
			`<CopyOrMoveCatalogItemParams `+vcd+` name="x"><Source href="`+item+`"/></CopyOrMoveCatalogItemParams>`)
		l.zoe.want(http.StatusBadRequest, http.MethodDelete, item, "", "")
		for _, kind := range []string{"vAppTemplate", "media"} {
			entity := l.zoe.get("/api/query?type=" + kind + "&filter=catalogName==copy").ChildElements()
			l.zoe.want(http.StatusBadRequest, http.MethodDelete, entity[len(entity)-1].SelectAttrValue("href", ""), "", "")
		}
	})
	t.Run("without a copy, items come one by one", func(t *testing.T) {
		path := l.followed("list", "false")
		if s := l.status("vAppTemplate", "list"); s != "UNRESOLVED" {
			t.Errorf("status %s", s)
		}
		for _, e := range l.zoe.get(path).FindElements("./CatalogItems/CatalogItem") {
			l.zoe.run(http.MethodPost, e.SelectAttrValue("href", "")+"/action/sync", "", "")
		}
		if l.status("vAppTemplate", "list") != "RESOLVED" || l.status("media", "list") != "RESOLVED" {
			t.Error("not all is there")
		}
	})
	t.Run("what changes there, changes here", func(t *testing.T) {
		l.ada.run(http.MethodDelete, "/api/media/"+l.media, "", "")
		l.zoe.run(http.MethodPost, full+"/action/sync", "", "")
		if k := l.zoe.get(full); children(k, "./CatalogItems/CatalogItem") != 1 {
			t.Error(write(k))
		}
	})
	t.Run("only the provider and its own organization change the subscription", func(t *testing.T) {
		at, body := strings.Replace(full, "/api/", "/api/admin/", 1)+"/action/subscribeToExternalCatalog",
			`<ExternalCatalogSubscriptionParams `+vcd+`><Password>******</Password><LocalCopy>false</LocalCopy></ExternalCatalogSubscriptionParams>`
		l.ada.want(http.StatusForbidden, http.MethodPost, at, admin+"externalCatalogSubscriptionParams+xml", body)
		l.zoe.want(http.StatusNoContent, http.MethodPost, at, admin+"externalCatalogSubscriptionParams+xml", body)
		a := l.zoe.made(&reply{body: l.zoe.do(http.MethodGet, strings.Replace(full, "/api/", "/api/admin/", 1), "", "").body})
		if textAt(a, "./ExternalCatalogSubscriptionParams/LocalCopy") != "false" {
			t.Error(write(a))
		}
	})
	t.Run("a catalog of one's own is not synchronized", func(t *testing.T) {
		l.ada.want(http.StatusBadRequest, http.MethodPost, "/api/catalog/"+l.catalog+"/action/sync", "", "")
	})
	t.Run("it goes as a whole", func(t *testing.T) {
		l.zoe.run(http.MethodDelete, strings.Replace(full, "/api/", "/api/admin/", 1)+"?recursive=true&force=true", "", "")
	})
}
