// What a page of trends asks for: a connection, a fragment that is fetched again by `node`, and ids.

import { graphql } from 'relay-runtime';

export const query = graphql`
  query TrendListQuery($first: Int!, $after: String) {
    ...TrendList_query @arguments(first: $first, after: $after)
  }
`;

export const list = graphql`
  fragment TrendList_query on Query
  @argumentDefinitions(first: { type: "Int!" }, after: { type: "String" })
  @refetchable(queryName: "TrendListPageQuery") {
    trends(first: $first, after: $after) @connection(key: "TrendList_trends") {
      totalCount
      edges {
        node {
          ...TrendList_trend
        }
      }
    }
  }
`;

export const trend = graphql`
  fragment TrendList_trend on Trend
  @argumentDefinitions(first: { type: "Int", defaultValue: 5 }, after: { type: "String" })
  @refetchable(queryName: "TrendListTrendQuery") {
    topic
    score
    contents(first: $first, after: $after) @connection(key: "TrendList_contents") {
      edges {
        node {
          title
          createdBy {
            name
          }
        }
      }
    }
  }
`;

export const detect = graphql`
  mutation TrendListDetectMutation($input: DetectTrendInput!) {
    detectTrend(input: $input) {
      trend {
        ...TrendList_trend
      }
      errors {
        code
        message
        field
      }
    }
  }
`;

export const changes = graphql`
  subscription TrendListSubscription($after: Position) {
    trendChanged(after: $after) {
      position
      trend {
        ...TrendList_trend
      }
    }
  }
`;
