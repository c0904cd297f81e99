package cairn.interop.jobs;

import org.apache.spark.sql.SparkSession;

/** Counts the lines of each system in one batch, as a query over a topic from end to end. */
public final class LineCount {
    public static void main(String[] arguments) {
        try (SparkSession spark = Session.local()) {
            spark.read()
                    .format("kafka")
                    .option("kafka.bootstrap.servers", Session.BOOTSTRAP)
                    .option("subscribe", arguments[0])
                    .load()
                    .groupBy("key")
                    .count()
                    .selectExpr("key", "string(count) as value")
                    .write()
                    .format("kafka")
                    .option("kafka.bootstrap.servers", Session.BOOTSTRAP)
                    .option("topic", arguments[1])
                    .save();
        }
    }
}
