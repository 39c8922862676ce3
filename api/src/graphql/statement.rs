//! A plan as one SQL statement: each row is a JSON array, with what belongs to it inside.
//!
//! A row is `[columns…, version?, place?, branches…]` with the columns that the plan asks for, a
//! list is `[count, [rows…]]`. What a list or a row is not asked for is null or left out; `found.rs`
//! reads it back. Whatever a client has said is bound, never part of the text.

use orion_commands::Actor;
use orion_commands::policy::{Reach, reach};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::page::{Order, Page};
use super::plan::{BranchRows, ListPlan, Noun, Plan};
use super::reader::Condition;

/// SQL for the version of the aggregate whose row has this name.
pub fn version_of(name: &str) -> String {
    format!("(SELECT s.version FROM projection.streams s WHERE s.id = {name}.id)")
}

/// The beginning of a statement that is the only one, after [`Snapshot::only`](super::snapshot::Snapshot::only).
const SELECT_WITH_POSITION: &str =
    "SELECT (SELECT position FROM projection.checkpoints WHERE name = 'read_model'), ";

/// A statement in the making.
pub struct Statement<'a> {
    sql: QueryBuilder<'static, Postgres>,
    /// Who asks.
    actor: &'a Actor,
    /// How many rows have got a name.
    names: usize,
}

impl<'a> Statement<'a> {
    /// Reads the row of an id: one row with one column, after the position if this is all that is read; it is
    /// null if there is none that the caller may see.
    pub fn row(actor: &'a Actor, plan: &Plan, id: Uuid) -> QueryBuilder<'static, Postgres> {
        let mut statement = Self::new(actor, plan);
        statement.push_one(plan, |sql| {
            sql.push_bind(id);
        });
        statement.sql
    }

    /// Reads a list of the rows that fulfil the conditions: one row with one column, after the position if
    /// this is all that is read.
    pub fn list(
        actor: &'a Actor,
        plan: &Plan,
        list: &ListPlan,
        conditions: &[Condition],
    ) -> QueryBuilder<'static, Postgres> {
        let mut statement = Self::new(actor, plan);
        statement.push_list(plan, list, &|sql, name| {
            for condition in conditions {
                condition.push(sql, name);
            }
        });
        statement.sql
    }

    fn new(actor: &'a Actor, plan: &Plan) -> Self {
        let select = if plan.is_all { SELECT_WITH_POSITION } else { "SELECT " };
        Self { sql: QueryBuilder::new(select), actor, names: 0 }
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }

    fn push_row(&mut self, plan: &Plan, name: &str, place: Option<Order>) {
        self.sql.push("json_build_array(");
        let columns = plan.noun.columns.iter().zip(&plan.columns);
        let columns = columns.filter(|(_, is_wanted)| **is_wanted);
        let mut values: Vec<_> = columns.map(|(column, _)| format!("{name}.{column}")).collect();
        values.extend(plan.version.then(|| version_of(name)));
        values.extend(place.map(|order| format!("{name}.{}::text", order.column)));
        self.sql.push(values.join(", "));
        for branch in &plan.branches {
            self.sql.push(", ");
            match &branch.rows {
                BranchRows::One(column) => self.push_one(&branch.plan, |sql| {
                    sql.push(format!("{name}.{column}"));
                }),
                BranchRows::Many(column, list) => {
                    self.push_list(&branch.plan, list, &|sql, child| {
                        sql.push(format!(" AND {child}.{column} = {name}.id"));
                    });
                }
            }
        }
        self.sql.push(")");
    }

    fn push_one(
        &mut self,
        plan: &Plan,
        push_id: impl FnOnce(&mut QueryBuilder<'static, Postgres>),
    ) {
        let name = self.name();
        self.sql.push("(SELECT ");
        self.push_row(plan, &name, None);
        self.sql.push(format!(" FROM {} {name} WHERE {name}.id = ", plan.noun.table));
        push_id(&mut self.sql);
        push_visible(&mut self.sql, self.actor, &plan.noun, &name);
        self.sql.push(")");
    }

    fn push_list(
        &mut self,
        plan: &Plan,
        list: &ListPlan,
        conditions: &dyn Fn(&mut QueryBuilder<'static, Postgres>, &str),
    ) {
        self.sql.push("json_build_array(");
        if list.wants.count {
            let name = self.name();
            self.sql.push(format!("(SELECT count(*) FROM {} {name} WHERE true", plan.noun.table));
            conditions(&mut self.sql, &name);
            push_visible(&mut self.sql, self.actor, &plan.noun, &name);
            self.sql.push(")");
        } else {
            self.sql.push("NULL");
        }
        self.sql.push(", ");
        if list.wants.rows {
            let name = self.name();
            self.sql.push("(SELECT json_agg(p.row) FROM (SELECT ");
            self.push_row(plan, &name, list.wants.cursors.then_some(list.order));
            self.sql.push(format!(" AS row FROM {} {name} WHERE true", plan.noun.table));
            conditions(&mut self.sql, &name);
            push_visible(&mut self.sql, self.actor, &plan.noun, &name);
            push_page(&mut self.sql, list.order, &list.page, &name);
            self.sql.push(") p)");
        } else {
            self.sql.push("NULL");
        }
        self.sql.push(")");
    }
}

/// Pushes the condition that hides what the caller may not see of the rows of this name.
pub fn push_visible(sql: &mut QueryBuilder<'_, Postgres>, actor: &Actor, noun: &Noun, name: &str) {
    match (reach(actor, noun.area), noun.owner) {
        (Reach::All, _) => {}
        (Reach::Own(user), Some(owner)) => {
            sql.push(format!(" AND {} = ", owner.replace("{t}", name))).push_bind(user.0);
        }
        (Reach::Own(_), None) | (Reach::Nothing, _) => {
            sql.push(" AND false");
        }
    }
}

/// Pushes what makes a page of a list: its bounds, order and length, and one row more, to know
/// whether there are more.
pub fn push_page(sql: &mut QueryBuilder<'_, Postgres>, order: Order, page: &Page, name: &str) {
    let Order { column, sql_type, descending } = order;
    let bounds = [(&page.after, !descending), (&page.before, descending)];
    for (cursor, is_greater) in bounds {
        if let Some(cursor) = cursor {
            let than = if is_greater { '>' } else { '<' };
            sql.push(format!(" AND ({name}.{column}, {name}.id) {than} ("));
            sql.push_bind(cursor.value.clone()).push(format!("::{sql_type}, "));
            sql.push_bind(cursor.id).push(")");
        }
    }
    let direction = if descending == page.from_end { "ASC" } else { "DESC" };
    sql.push(format!(" ORDER BY {name}.{column} {direction}, {name}.id {direction} LIMIT "));
    sql.push_bind(page.size + 1);
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::parser::types::DocumentOperations;
    use async_graphql::{Variables, value};
    use orion_commands::Actor;
    use orion_domain::values::{Role, SessionId, UserId};
    use orion_projections::tables::{ContentRow, TrendRow};

    use super::*;
    use crate::graphql::page::PageArgs;
    use crate::graphql::plan::Planner;
    use crate::graphql::reader::Entity;
    use crate::graphql::selection::Document;

    const NEWEST: Order = Order::descending("created_at", "timestamptz");

    fn user(role: Role) -> Actor {
        Actor::User { id: UserId(Uuid::from_u128(1)), role, session_id: SessionId(Uuid::nil()) }
    }

    /// The statement for the only field of a query, as a list of this table.
    fn list<T: Entity>(query: &str, actor: &Actor) -> String {
        let document = parse_query(query).unwrap();
        let DocumentOperations::Single(operation) = &document.operations else { panic!() };
        let variables = Variables::from_value(value!({ "none": null }));
        let fragments = &document.fragments;
        let document = Document { fragments, operation: &operation.node, variables: &variables };
        let fields = document.root_fields();
        let (wants, plan) = Planner::new(document).list(Noun::of::<T>(), &fields);
        let page = PageArgs::default().parse("", NEWEST.sql_type).unwrap();
        Statement::list(actor, &plan, &ListPlan { order: NEWEST, page, wants }, &[]).into_sql()
    }

    #[test]
    fn only_what_is_selected_is_read() {
        let admin = user(Role::Admin);
        assert_eq!(
            list::<ContentRow>("{ contents { nodes { title trend { topic } } } }", &admin),
            "SELECT json_build_array(NULL, (SELECT json_agg(p.row) FROM (\
             SELECT json_build_array(t1.id, t1.trend_id, t1.title, \
             (SELECT json_build_array(t2.id, t2.topic) FROM orion.trends t2 WHERE t2.id = t1.trend_id)) AS row \
             FROM orion.contents t1 WHERE true ORDER BY t1.created_at DESC, t1.id DESC LIMIT $1) p))"
        );
        assert_eq!(
            list::<ContentRow>("{ contents { totalCount } }", &admin),
            "SELECT json_build_array((SELECT count(*) FROM orion.contents t1 WHERE true), NULL)"
        );
        // A version and a place in the list are read when they are asked for.
        assert_eq!(
            list::<TrendRow>("{ trends { pageInfo { endCursor } nodes { version } } }", &admin),
            "SELECT json_build_array(NULL, (SELECT json_agg(p.row) FROM (\
             SELECT json_build_array(t1.id, \
             (SELECT s.version FROM projection.streams s WHERE s.id = t1.id), t1.created_at::text) AS row \
             FROM orion.trends t1 WHERE true ORDER BY t1.created_at DESC, t1.id DESC LIMIT $1) p))"
        );
    }

    #[test]
    fn at_every_level_one_sees_what_is_one_s_own() {
        let query = "{ trends { nodes { contents(first: 2) { totalCount nodes { mediaAssets { nodes { id } } } } } } }";
        let sql = list::<TrendRow>(query, &user(Role::Editor));
        for condition in [
            "FROM orion.contents t2 WHERE true AND t2.trend_id = t1.id AND t2.created_by = $",
            "FROM orion.contents t3 WHERE true AND t3.trend_id = t1.id AND t3.created_by = $",
            "FROM orion.media_assets t4 WHERE true AND t4.content_id = t3.id AND \
             (SELECT c.created_by FROM orion.contents c WHERE c.id = t4.content_id) = $",
        ] {
            assert!(sql.contains(condition), "{condition}\n{sql}");
        }
        assert!(list::<ContentRow>(query, &Actor::Anonymous).contains("AND false"));
    }

    #[test]
    fn what_is_one_in_the_answer_is_read_once_and_what_is_not_is_left_alone() {
        let admin = user(Role::Admin);
        let reads = |query: &str| {
            let sql = list::<ContentRow>(query, &admin);
            (sql.matches("orion.media_assets").count(), sql.contains("file_path"))
        };
        let fragments = "query ($none: Int) { contents { ...A edges { node { mediaAssets(first: $none) { nodes { id } } } } } }
            fragment A on ContentConnection { nodes { ... on Content { mediaAssets { nodes { filePath } } } } }";
        assert_eq!(reads(fragments), (1, true));
        let two = "{ contents { nodes { a: mediaAssets(first: 1) { nodes { id } } b: mediaAssets { nodes { id } } } } }";
        assert_eq!(reads(two), (2, false));
        // The same rows answer both, but one name cannot hold two lists.
        let torn = "{ contents { nodes { a: mediaAssets(first: 1) { nodes { id } } }
                      edges { node { a: mediaAssets(first: 2) { nodes { id } } } } } }";
        assert_eq!(reads(torn), (0, false));
        // Its own resolver says what is wrong with it.
        let bad = "{ contents { nodes { mediaAssets(first: 101) { nodes { id } } } } }";
        assert_eq!(reads(bad), (0, false));
    }

    #[test]
    fn a_statement_grows_to_a_bound() {
        let fields: Vec<_> =
            (0..60).map(|number| format!("a{number}: trend {{ topic }}")).collect();
        let query = format!("{{ contents {{ nodes {{ {} }} }} }}", fields.join(" "));
        let sql = list::<ContentRow>(&query, &user(Role::Admin));
        assert_eq!(sql.matches("FROM orion.").count(), 41);
    }
}
